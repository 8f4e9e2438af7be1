"""Puts configs/, which is beside the package, into the wheel as `rffr_jax.configs`."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[
        *find_namespace_packages(include=["rffr_jax*"], exclude=["*.__pycache__"]),
        "rffr_jax.configs",
        "rffr_jax.configs.paper",
        "rffr_jax.configs.recipes",
    ],
    package_dir={"rffr_jax.configs": "configs"},
)
