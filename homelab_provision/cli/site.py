"""`provision config`: the site as the toolkit understands it."""

from __future__ import annotations

from pathlib import Path

import click

from homelab_provision.cli.options import find_site, json_option, print_json, print_text, site_option, tell


@click.group()
def config() -> None:
    """The description of the site."""


@config.command("show")
@site_option
@json_option
def show_config(site_dir: Path | None, as_json: bool) -> None:
    """Show the merged, validated site; all mistakes at once if there are any."""
    from homelab_provision.site.description import describe
    from homelab_provision.site.loading import load_site

    site = load_site(find_site(site_dir))
    for warning in site.warnings:
        tell(f"warning: hosts.yml: {warning}")
    document = describe(site)
    if as_json:
        print_json(document)
        return
    import yaml

    print_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip("\n"))


@config.command()
def schema() -> None:
    """Print the JSON schema of machines.yml, for editors."""
    from homelab_provision.site.machines import machines_schema

    print_json(machines_schema())


@config.command()
@site_option
def ca(site_dir: Path | None) -> None:
    """Print the certificate of the site's authority: clients of the hosts' services trust it.

    \b
    Example:
      provision config ca > homelab-ca.crt
      psql "host=192.168.50.10 dbname=spans user=spans sslmode=verify-full sslrootcert=homelab-ca.crt"
    """
    from homelab_provision.identity.identities import certificate_of_authority
    from homelab_provision.site.loading import load_site

    print_text(certificate_of_authority(load_site(find_site(site_dir))).rstrip("\n"))
