"""Makes the database, a user and the token, and prints the token."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "seed.settings")
django.setup()

from django.contrib.auth.models import User  # noqa: E402  (models exist after setup)
from django.core.management import call_command  # noqa: E402
from rest_framework.authtoken.models import Token  # noqa: E402

call_command("migrate", run_syncdb=True, verbosity=0)
user = User.objects.create_user("bench")
print(Token.objects.create(user=user).key)
