# The service. Build needs the base image and a package index, nothing else:
#   docker build -t twotower .
# PIP_INDEX_URL names another index; PIP_EXTRA_INDEX_URL one more. Torch from the usual index brings libraries
# for GPUs, which the service has no use for: give torch's index of CPU-only builds as PIP_EXTRA_INDEX_URL, and
# the image is several GB smaller:
#   docker build --build-arg PIP_EXTRA_INDEX_URL=... -t twotower .
# The outputs are only read:
#   docker run --name twotower -p 8080:8080 -v "$PWD/outputs:/outputs:ro" -v twotower-live:/live \
#     twotower bundle=/outputs/default/RUN
# bundle=/outputs/default/latest is the newest bundle in that folder that may be served. Do not write latest alone:
# it means the folder outputs/ of the working folder, and the container has none.
# It answers for localhost and for any address; who asks for http://twotower:8080 needs allowed_hosts=[twotower].
# Requests in flight have 20 seconds once it is told to stop; Docker by itself waits for 10:
#   docker stop -t 30 twotower
FROM python:3.12-slim

ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL

RUN useradd --create-home --uid 10001 twotower && mkdir /live && chown twotower /live
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY conf conf
# conf/ travels inside the package: src/twotower/conf is a link to it.
RUN pip install --no-cache-dir '.[serve]' && rm -rf /app
WORKDIR /home/twotower

USER twotower
ENV OMP_WAIT_POLICY=PASSIVE PYTHONUNBUFFERED=1
VOLUME /live
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
# SIGTERM reaches Python itself, which finishes the requests in flight.
ENTRYPOINT ["twotower", "serve", "host=0.0.0.0", "port=8080", "store=/live/live.sqlite"]
