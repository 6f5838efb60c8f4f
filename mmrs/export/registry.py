"""All export formats by name. Another one is a module in `labels` or `chat`, and its line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mmrs.errors import UserError
from mmrs.export.chat.earthdial import EARTHDIAL_EXPORT
from mmrs.export.chat.florence2 import FLORENCE2_EXPORT
from mmrs.export.chat.geochat import GEOCHAT_EXPORT
from mmrs.export.chat.internvl import INTERNVL_EXPORT
from mmrs.export.chat.llama_factory import LLAMA_FACTORY_EXPORT
from mmrs.export.chat.llava import LLAVA_EXPORT
from mmrs.export.chat.messages import MESSAGES_EXPORT
from mmrs.export.chat.ms_swift import MS_SWIFT_EXPORT
from mmrs.export.chat.paligemma import PALIGEMMA_EXPORT
from mmrs.export.chat.qwen2_5_vl import QWEN2_5_VL_EXPORT
from mmrs.export.chat.qwen3_vl import QWEN3_VL_EXPORT
from mmrs.export.format import ExportFormat
from mmrs.export.labels.coco import COCO_EXPORT
from mmrs.export.labels.dota import DOTA_EXPORT
from mmrs.export.labels.fiftyone import FIFTYONE_EXPORT
from mmrs.export.labels.geojson import GEOJSON_EXPORT
from mmrs.export.labels.yolo import YOLO_EXPORT, YOLO_OBB_EXPORT
from mmrs.text import nearest

_FORMATS = (
    COCO_EXPORT,
    DOTA_EXPORT,
    YOLO_EXPORT,
    YOLO_OBB_EXPORT,
    FIFTYONE_EXPORT,
    GEOJSON_EXPORT,
    LLAVA_EXPORT,
    MS_SWIFT_EXPORT,
    LLAMA_FACTORY_EXPORT,
    QWEN3_VL_EXPORT,
    QWEN2_5_VL_EXPORT,
    INTERNVL_EXPORT,
    GEOCHAT_EXPORT,
    EARTHDIAL_EXPORT,
    PALIGEMMA_EXPORT,
    FLORENCE2_EXPORT,
    MESSAGES_EXPORT,
)
EXPORT_FORMATS: Mapping[str, ExportFormat] = MappingProxyType({each.name: each for each in _FORMATS})


def export_format(name: str) -> ExportFormat:
    """The format of that name. Raises UserError that lists the known ones."""
    if name not in EXPORT_FORMATS:
        known = ", ".join(EXPORT_FORMATS)
        raise UserError(f"there is no format {name!r}{nearest(name, EXPORT_FORMATS)}; choose one of {known}.")
    return EXPORT_FORMATS[name]
