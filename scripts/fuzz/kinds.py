"""The kinds of files that are broken."""

SIZE = 32
IMAGES = (
    *("rgb.png", "grey16.png", "palette.png", "turned.jpg", "progressive.jpg"),
    *("lossy.webp", "lossless.webp", "plain.bmp", "lzw.tif", "moves.gif"),
)
VIDEOS = ("libx264.mp4", "libx264.mkv", "libx264.mov", "libx264.ts", "mpeg4.avi", "mpeg1video.mpg")
FINISHED = ("finished.jsonl",)
DETECTOR = (
    "detector/training_sources.json",
    "detector/mae_training_sources.json",
    "detector/best.json",
    "detector/operating_points/last.json",
    "detector/residual_references/last.json",
    "detector/checkpoints/latest/0/checksums.json",
    "detector/checkpoints/latest/0/about/metadata",
    "detector/checkpoints/latest/0/_CHECKPOINT_METADATA",
    "detector/checkpoints/mae/0/checksums.json",
)
MODEL = ("model/config.json", "model/model.safetensors")
REQUESTS = ("rgb.png", "turned.jpg", "lossy.webp", "libx264.mp4")
FILES = {
    "image": IMAGES,
    "video": VIDEOS,
    "finished": FINISHED,
    "detector": DETECTOR,
    "model": MODEL,
    "request": REQUESTS,
}
SHARES = {
    "image": 0.35,
    "video": 0.25,
    "finished": 0.1,
    "detector": 0.1,
    "model": 0.05,
    "request": 0.15,
}
