# Team SMS as an image. The first stage installs, with the hashes of the lock files; the second takes
# what came out of it and has neither a compiler nor pip's leftovers, and runs as nobody in particular.
# It holds no secret: settings come from the environment (compose.yaml).

FROM python:3.11-slim-bookworm AS build
WORKDIR /app
RUN python -m venv /opt/venv
COPY requirements.txt requirements-scale.txt ./
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: --require-hashes -r requirements.txt
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: --require-hashes -r requirements-scale.txt
COPY webapp/translations webapp/translations
RUN /opt/venv/bin/pybabel compile -d webapp/translations
RUN /opt/venv/bin/pip uninstall --yes pip setuptools

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin team-sms
WORKDIR /app
COPY --from=build /opt/venv /opt/venv
COPY templates templates
COPY static static
COPY webapp webapp
COPY --from=build /app/webapp/translations webapp/translations
RUN install -d -o team-sms -g team-sms -m 700 /app/instance
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# All addresses of the container; who may reach it is the matter of whoever publishes the port.
ENV HOST=0.0.0.0 PORT=5000
USER team-sms
VOLUME /app/instance
EXPOSE 5000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/healthz', timeout=4)"]
CMD ["python", "-m", "webapp.server"]
