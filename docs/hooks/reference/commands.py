"""Every command with its arguments and options, as click knows them."""

from __future__ import annotations

from collections.abc import Iterator

import click

from docs.hooks.reference.markdown import prose, table


def commands_page() -> str:
    """The page of the whole command line."""
    from cli import main

    parts = [
        "# Commands\n",
        prose(main.help or ""),
        "```\n" + main.get_usage(click.Context(main, info_name="mmrs")) + "\n```\n",
    ]
    parts.append(_options(main, click.Context(main, info_name="mmrs")))
    for context, command in walk(main, click.Context(main, info_name="mmrs")):
        name = context.command_path
        parts += [f"## {name}\n", prose(command.help or "")]
        parts += ["```\n" + command.get_usage(context).removeprefix("Usage: ") + "\n```\n", _options(command, context)]
    return "\n".join(parts)


def walk(group: click.Group, context: click.Context) -> Iterator[tuple[click.Context, click.Command]]:
    """Commands below `group` in the order of the help, each with its context; a group before its own commands."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        yield inner, command
        if isinstance(command, click.Group):
            yield from walk(command, inner)


def _options(command: click.Command, context: click.Context) -> str:
    records = [record for option in command.get_params(context) if (record := option.get_help_record(context))]
    return table(("option", "meaning"), [(names.replace("|", "\\|"), words) for names, words in records if words])
