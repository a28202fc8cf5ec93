"""Settings: defaults, then a TOML file, then MQTASKS_* variables, then what the caller says."""

from mqtasks.config.mask import mask_url
from mqtasks.config.options import Option
from mqtasks.config.settings import OPTIONS, Settings

__all__ = ["OPTIONS", "Option", "Settings", "mask_url"]
