# The environment of a GPU node. CUDA 12 comes with JAX's wheels; the machine has the driver.
#
#   docker build -t rffr_jax .
#   docker run --rm --gpus all --shm-size=8g -v "$PWD/runs:/work/runs" -v /data:/data:ro \
#     --user "$(id -u):$(id -g)" rffr_jax --config=configs/pretrain.py --config.data.train=folder:/data/FACES

FROM python:3.12-slim

WORKDIR /work
RUN mkdir -m 1777 runs
# Packages first: a change of the program does not download them again.
COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt
COPY pyproject.toml setup.py README.md LICENSE ./
COPY rffr_jax ./rffr_jax
COPY configs ./configs
RUN pip install --no-cache-dir --no-deps .

USER 1000
# A user without a home needs one for JAX and matplotlib.
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib PYTHONUNBUFFERED=1
ENTRYPOINT ["python", "-m", "rffr_jax.main"]
CMD ["--help"]
