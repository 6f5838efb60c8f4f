"""Data of the user's own behind a short description file: COCO, VOC, DOTA, YOLO, class folders, LLaVA JSON."""
