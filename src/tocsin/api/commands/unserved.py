"""Commands of the platform that Tocsin does not serve, each with its family for the refusal.

They are the chat product's (trtc.io/document/34621, read 2026-11), and those of the Push Service
that are not in the command table. A command that is served from now on is removed here.
"""

from __future__ import annotations

from msgspec import Struct

from tocsin.errors import CallError

PAGE = "docs/compatibility.md"
"""The page that lists the served commands."""


class Family(Struct, frozen=True):
    """Commands of one service that belong together."""

    name: str
    service: str
    commands: tuple[str, ...]


PUSH: tuple[Family, ...] = (
    Family(
        "scheduled pushes",
        "timpush",
        (
            "add_sched_task",
            "delete_sched_task",
            "get_sched_task",
            "list_sched_task",
            "modify_sched_task",
        ),
    ),
    Family(
        "push statistics",
        "timpush",
        (
            "all_member_push_loss",
            "all_member_push_statistics",
            "all_member_push_trace",
            "normal_push_loss",
            "normal_push_statistics",
            "normal_push_trace",
        ),
    ),
    Family("push statistics", "openim", ("im_get_push_report",)),
    Family("pushes to browsers alone", "timpush", ("webbatch", "webpush")),
)
"""The Push Service's own (trtc.io/document/71893 to 71898, 78839 to 78843, 80440, 80441)."""

CHAT: tuple[Family, ...] = (
    Family(
        "one-to-one messages",
        "openim",
        (
            "admin_getroammsg",
            "admin_msgwithdraw",
            "admin_set_msg_read",
            "batchsendmsg",
            "c2c_msg_read_receipt",
            "delete_c2c_msg_ramble",
            "get_c2c_unread_msg_num",
            "importmsg",
            "modify_c2c_msg",
            "modify_group_msg",
            "sendmsg",
        ),
    ),
    Family(
        "one-to-one messages",
        "openim_msg_ext_http_svc",
        ("get_key_values", "group_get_key_values", "group_set_key_values", "set_key_values"),
    ),
    Family("one-to-one messages", "open_msg_svc", ("get_history",)),
    Family(
        "groups",
        "group_open_http_svc",
        (
            "add_group_member",
            "ban_group_member",
            "change_group_owner",
            "clear_group_attr",
            "clear_group_msg",
            "create_group",
            "delete_group_counter",
            "delete_group_member",
            "delete_group_msg_by_sender",
            "destroy_group",
            "forbid_send_msg",
            "get_appid_group_list",
            "get_group_attr",
            "get_group_ban_member",
            "get_group_counter",
            "get_group_info",
            "get_group_member_info",
            "get_group_msg_receipt",
            "get_group_msg_receipt_detail",
            "get_group_muted_account",
            "get_group_shutted_uin",
            "get_joined_group_list",
            "get_online_member_num",
            "get_role_in_group",
            "get_specified_group_member_info",
            "group_msg_get_simple",
            "group_msg_recall",
            "group_msg_receipt",
            "import_group",
            "import_group_member",
            "import_group_msg",
            "import_topic",
            "modify_group_attr",
            "modify_group_base_info",
            "modify_group_member_info",
            "send_broadcast_msg",
            "send_group_msg",
            "send_group_system_notification",
            "set_group_attr",
            "set_unread_msg_num",
            "unban_group_member",
            "update_group_counter",
        ),
    ),
    Family("groups", "group_open_attr_http_svc", ("get_group_attr",)),
    Family(
        "groups",
        "group_open_avchatroom_http_svc",
        ("check_members", "get_admin_list", "get_members", "modify_admin", "modify_user_info"),
    ),
    Family(
        "groups",
        "million_group_open_http_svc",
        ("create_topic", "destroy_topic", "get_topic", "modify_topic"),
    ),
    Family("profiles", "profile", ("portrait_get", "portrait_set")),
    Family(
        "friends and followers",
        "sns",
        (
            "black_list_add",
            "black_list_check",
            "black_list_delete",
            "black_list_get",
            "friend_add",
            "friend_check",
            "friend_delete",
            "friend_delete_all",
            "friend_get",
            "friend_get_list",
            "friend_import",
            "friend_update",
            "group_add",
            "group_delete",
            "group_get",
        ),
    ),
    Family(
        "friends and followers",
        "follow",
        ("follow_add", "follow_check", "follow_delete", "follow_get", "follow_get_info"),
    ),
    Family(
        "conversations",
        "recentcontact",
        (
            "create_contact_group",
            "del_contact_group",
            "delete",
            "get_contact_group",
            "get_list",
            "mark_contact",
            "search_contact_group",
            "update_contact_group",
        ),
    ),
    Family(
        "official accounts and chatbots",
        "official_account_open_http_svc",
        (
            "add_subscriber",
            "create_official_account",
            "delete_subscriber",
            "destroy_official_account",
            "get_official_account_info",
            "get_subscribed_official_account_list",
            "get_subscriber_info",
            "modify_official_account_base_info",
            "modify_subscriber_info",
            "official_account_msg_get_simple",
            "official_account_msg_recall",
            "send_official_account_msg",
        ),
    ),
    Family(
        "official accounts and chatbots",
        "openim_robot_http_svc",
        ("create_robot", "delete_robot", "get_all_robots"),
    ),
    Family(
        "content moderation",
        "im_msg_audit_mgr",
        (
            "add_cloud_audit_keywords",
            "add_local_audit_keywords",
            "delete_cloud_audit_keywords",
            "delete_local_audit_keywords",
            "get_cloud_audit_keywords",
            "get_cloud_audit_keywords_ids",
            "get_local_audit_keywords",
        ),
    ),
    Family(
        "content moderation", "im_msg_audit", ("batch_content_moderation", "content_moderation")
    ),
    Family(
        "content moderation",
        "im_cos_msg",
        ("allow_banned_object", "forbid_illegal_object", "get_cos_sig"),
    ),
    Family(
        "app figures and muting", "openconfigsvr", ("getappinfo", "getnospeaking", "setnospeaking")
    ),
    Family("app figures and muting", "ConfigSvc", ("GetIPList",)),
)
"""The chat product's."""

FAMILY_OF: dict[str, str] = {
    f"/v4/{family.service}/{command}": family.name
    for family in (*PUSH, *CHAT)
    for command in family.commands
}
"""The name of the family of each path."""


def refuse_unserved(path: str) -> CallError:
    """The refusal of a path without a command: 60027, or 60009 if the platform has none either."""
    family = FAMILY_OF.get(path)
    if family is None:
        return CallError(60009)
    command = path.removeprefix("/v4/")
    return CallError(60027, f"{command} ({family}) is not served by Tocsin; what is served: {PAGE}")
