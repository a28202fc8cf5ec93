"""Settings of the Django example on MySQL, over PyMySQL instead of mysqlclient."""

import os

import pymysql

pymysql.install_as_MySQLdb()

from shop.settings import *  # noqa: E402, F403 - Django's way to vary settings

from mqtasks.storage.mysql.address import parse_address  # noqa: E402

_address = parse_address(os.environ["SHOP_URL"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.mysql",
        "NAME": _address.database,
        "USER": _address.user,
        "PASSWORD": _address.password,
        "HOST": _address.host,
        "PORT": _address.port,
    }
}
