"""--help that can be read: options in groups, and commands to copy."""

import click

from .examples import EXAMPLES

GROUPS = {
    "Prompt": "file prompt tokens special chat system chat_template echo decode chunk stride",
    "Where the text ends": "max_tokens context stop ignore_eos",
    "How tokens are picked": "temperature top_k top_p min_p repeat_penalty seed",
    "Model": "model dtype device stream threads",
}
GROUP_OF = {name: group for group, names in GROUPS.items() for name in names.split()}
REST = "Options"


def path_of(ctx: click.Context) -> str:
    """The words of a command after `llama-np`."""
    words = []
    while ctx.parent is not None:
        words.append(str(ctx.info_name))
        ctx = ctx.parent
    return " ".join(reversed(words))


class Command(click.Command):
    """A command that groups its options by what they are about, and ends its help in examples."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows: dict[str, list[tuple[str, str]]] = {group: [] for group in (*GROUPS, REST)}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Argument):
                continue  # the usage line and the description have it
            if record := parameter.get_help_record(ctx):
                rows[GROUP_OF.get(parameter.name or "", REST)].append(record)
        if sum(map(len, rows.values())) < 8:  # too few for more than one heading
            rows = {REST: [record for group in rows.values() for record in group]}
        for group, records in rows.items():
            if records:
                with formatter.section(group):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if examples := EXAMPLES.get(path_of(ctx)):
            with formatter.section("Examples"):
                for line in examples.strip().splitlines():
                    formatter.write(f"  {line}\n")
