# A hardened classifier as a web service: slim, on a CPU, not as root, without PyTorch.
#
#     rain export --classifier efficientnet_lite0 --defense rain --gate 0.02 --out model
#     docker build --tag rain .
#     docker run --publish 8000:8000 --env RAIN_TOKEN=secret rain
#
# docker/try-steps does the same steps without docker.
FROM python:3.11-slim

COPY docker/requirements.txt /tmp/
RUN pip install --no-cache-dir --requirement /tmp/requirements.txt
COPY pyproject.toml README.md /tmp/rain/
COPY src /tmp/rain/src
RUN pip install --no-cache-dir --no-deps /tmp/rain && rm -r /tmp/rain

COPY model /model
RUN useradd --create-home rain
USER rain
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=3)"]
ENTRYPOINT ["rain", "serve", "--model", "/model", "--host", "0.0.0.0"]
