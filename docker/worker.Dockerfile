# A worker. CUDA comes with the torch wheel; the host gives the driver.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY docker/build.lock docker/build.lock
RUN pip install --no-cache-dir --require-hashes -r docker/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY mocoserve mocoserve
COPY service service
COPY trainer trainer
COPY worker worker
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist .

FROM python:3.11-slim-bookworm
WORKDIR /app
COPY docker/worker.lock docker/worker.lock
RUN pip install --no-cache-dir --require-hashes -r docker/worker.lock
COPY --from=build /src/dist dist
RUN pip install --no-cache-dir --no-deps --no-index --find-links dist mocoserve
COPY docker/healthcheck.py healthcheck.py
RUN useradd --uid 10001 --no-create-home moco && install -d -o moco -g moco /data
USER moco
ENV HOME=/tmp MOCO_DATA_DIR=/data MOCO_METRICS_PORT=9101 PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 9101
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "healthcheck.py", "http://127.0.0.1:9101/metrics"]
CMD ["python", "-m", "worker"]
