"""`minibroker admin`: topics, settings, groups, the cluster. Speaks only the protocol, so any Kafka will do."""

from __future__ import annotations

from minibroker.cli import admin_check, admin_cluster, admin_configs, admin_group, admin_groups, admin_topics
from minibroker.cli.options import program

app = program("minibroker admin", "Look after topics, settings, records, groups and the cluster.")
app.command(admin_topics.app, name="topics")
app.command(admin_configs.app, name="configs")
app.command(admin_groups.groups, name="groups")
app.command(admin_group.group, name="group")
app.command(admin_cluster.cluster, name="cluster")
app.command(admin_check.check, name="check")
