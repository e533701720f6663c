# docker build -t anivoice .
# The torch of the usual package index is the CUDA build. Another, such as the much smaller one for CPUs, by
# --build-arg TORCH_OPTIONS="--index-url ADDRESS", with the address that the PyTorch site's "Get started" page tells.
FROM python:3.12-slim-bookworm AS build
ARG TORCH_OPTIONS=""
# pyworld is compiled.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# The options are several words.
# hadolint ignore=SC2086
RUN python -m venv /opt/anivoice \
    && /opt/anivoice/bin/pip install --no-cache-dir $TORCH_OPTIONS torch==2.13.0 \
    && /opt/anivoice/bin/pip install --no-cache-dir -c constraints.txt .

FROM python:3.12-slim-bookworm
RUN useradd --create-home --uid 10001 anivoice \
    && mkdir /voices \
    && chown anivoice:anivoice /voices
COPY --from=build /opt/anivoice /opt/anivoice
ENV PATH=/opt/anivoice/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    XDG_DATA_HOME=/voices
USER 10001:10001
WORKDIR /home/anivoice
VOLUME /voices
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["anivoice"]
# Another address than the container's own opens the server to others: set ANIVOICE_API_KEY.
CMD ["serve", "--host", "0.0.0.0"]
