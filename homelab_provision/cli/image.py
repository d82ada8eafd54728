"""`provision image`: bootable images in the cache."""

from __future__ import annotations

from pathlib import Path

import click

from homelab_provision.cli.options import find_site, json_option, print_json, print_table, site_option


@click.group()
def image() -> None:
    """The bootable images that machines are written from."""


@image.command()
@click.argument("host", required=False)
@site_option
@click.option("--anew", is_flag=True, help="Build although the cache has it: for the newest packages.")
@json_option
def build(host: str | None, site_dir: Path | None, anew: bool, as_json: bool) -> None:
    """Build the image of HOST, or of every host that can be rebuilt. Cached: the same inputs, the same image.

    \b
    Example:
      provision image build db-wyse
    """
    from homelab_provision import paths
    from homelab_provision.cli.render import renderer
    from homelab_provision.image.host_image import image_of
    from homelab_provision.image.rescue import build_rescue
    from homelab_provision.site.loading import load_site

    site = load_site(find_site(site_dir))
    hosts = [site.host(host)] if host else [one for one in site.hosts.values() if one.provisioned]
    with renderer() as show:
        build_rescue(paths.cache(), show)
        built = {one.name: image_of(one, show, anew=anew) for one in hosts}
    if as_json:
        print_json({name: {"digest": made.digest, "directory": made.directory} for name, made in built.items()})
    else:
        print_table(
            [[name, made.digest, str(made.directory)] for name, made in built.items()], ["host", "image", "where"]
        )


@image.command("list")
@json_option
def list_images(as_json: bool) -> None:
    """List the images in the cache."""
    from homelab_provision import paths
    from homelab_provision.image.cache import list_images
    from homelab_provision.site.sizes import format_size

    images = list_images(paths.cache())
    if as_json:
        print_json(
            [
                {
                    "digest": one.digest,
                    "suite": one.suite,
                    "directory": one.directory,
                    "payload_bytes": one.payload_bytes,
                    "packages": len(one.packages),
                }
                for one in images
            ]
        )
        return
    rows = [
        [one.digest[:12], one.suite, format_size(one.payload_bytes), str(len(one.packages)), str(one.directory)]
        for one in images
    ]
    print_table(rows, ["image", "suite", "size", "packages", "where"])
