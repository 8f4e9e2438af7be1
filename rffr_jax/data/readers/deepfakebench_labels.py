"""The labels of DeepfakeBench's dataset JSON: what they mean here."""

import re

from rffr_jax.examples import FAKE, REAL

# The toolkit's label -> our label, data set and method.
LABELS = {
    "FF-real": (REAL, "FaceForensics++", "real"),
    "FF-DF": (FAKE, "FaceForensics++", "Deepfakes"),
    "FF-F2F": (FAKE, "FaceForensics++", "Face2Face"),
    "FF-FS": (FAKE, "FaceForensics++", "FaceSwap"),
    "FF-NT": (FAKE, "FaceForensics++", "NeuralTextures"),
    "FF-FH": (FAKE, "FaceForensics++", "FaceShifter"),
    "DFD_real": (REAL, "DeepFakeDetection", "real"),
    "DFD_fake": (FAKE, "DeepFakeDetection", "DeepFakeDetection"),
    "CelebDFv1_real": (REAL, "Celeb-DF-v1", "real"),
    "CelebDFv1_fake": (FAKE, "Celeb-DF-v1", "Celeb-synthesis"),
    "CelebDFv2_real": (REAL, "Celeb-DF", "real"),
    "CelebDFv2_fake": (FAKE, "Celeb-DF", "Celeb-synthesis"),
    "DFDC_Real": (REAL, "DFDC", "real"),
    "DFDC_Fake": (FAKE, "DFDC", "fake"),
    "DFDCP_Real": (REAL, "DFDC-preview", "real"),
    "DFDCP_FakeA": (FAKE, "DFDC-preview", "method_A"),
    "DFDCP_FakeB": (FAKE, "DFDC-preview", "method_B"),
    "DF_real": (REAL, "DeeperForensics-1.0", "real"),
    "DF_fake": (FAKE, "DeeperForensics-1.0", "fake"),
    "UADFV_Real": (REAL, "UADFV", "real"),
    "UADFV_Fake": (FAKE, "UADFV", "fake"),
    "roop_Real": (REAL, "roop", "real"),
    "roop_Fake": (FAKE, "roop", "fake"),
}

_ANY = re.compile(r"(.+)[_-](real|fake)", re.IGNORECASE)
_DOMAINS = {"ff": "FaceForensics++", "cdf": "Celeb-DF"}


def parse_label(label: object, name: str) -> tuple[int, str, str] | None:
    """Our label, data set and method; None for a label that ends in neither real nor fake.

    Labels that the toolkit does not know, such as DF40's `simswap_Fake`, are of the data set that
    the file names.

    Args:
      name: of the data set in the file.
    """
    if not isinstance(label, str):
        return None
    if label in LABELS:
        return LABELS[label]
    match = _ANY.fullmatch(label)
    if not match:
        return None
    return (REAL, name, "real") if match[2].lower() == "real" else (FAKE, name, match[1])


def naming_of(dataset: str) -> str:
    """The data set by whose rules videos are named: `simswap_ff` of DF40 has FaceForensics++'s."""
    return _DOMAINS.get(dataset.rpartition("_")[2], dataset)
