"""Cron expressions: when they fire, in numbers and in words. Pure: no clock is read here."""

from mqtasks.cron.preview import ClockChange, Occurrence, preview
from mqtasks.cron.schedule import CronSchedule
from mqtasks.cron.words import describe

__all__ = ["ClockChange", "CronSchedule", "Occurrence", "describe", "preview"]
