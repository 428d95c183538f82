"""The command line. Heavy packages are imported by the commands that need them."""

from __future__ import annotations

import errno
import sys
from typing import Any

import click

from edgernn.commands.bench import bench
from edgernn.commands.budget import budget
from edgernn.commands.build import build
from edgernn.commands.export import export
from edgernn.commands.inspect import inspect
from edgernn.commands.report import report
from edgernn.commands.run import run
from edgernn.commands.sweep import sweep
from edgernn.commands.train import train
from edgernn.commands.verify import verify
from edgernn.version import __version__

BROKEN_PIPE = 141


class Commands(click.Group):
    """A group whose commands report an EdgernnError as one sentence and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            sys.stderr.close()
            ctx.exit(BROKEN_PIPE)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise click.ClickException("the disk is full: the output is not complete") from None
        except Exception as error:
            # Imported here because --help must not wait for NumPy.
            from edgernn.runtime.errors import EdgernnError

            if not isinstance(error, EdgernnError):
                raise
            raise click.ClickException(str(error)) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgernn")
def main() -> None:
    """Recurrent networks from PyTorch as one int8 integer program, the same bits on every engine.

    \b
    edgernn train classify --data gestures.csv --out run/
    edgernn export model.pt2 --int8 --calib calib.npz --out build/
    edgernn verify build/
    edgernn build build/
    edgernn run build/model.safetensors --input x.npy --output y.npy
    edgernn inspect build/model.safetensors
    edgernn budget build/ --target nrf52840-dk
    edgernn report build/
    """


for _command in (train, sweep, export, verify, build, run, inspect, bench, budget, report):
    main.add_command(_command)
