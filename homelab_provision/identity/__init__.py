"""Who is who: keys, certificates, machine-ids and passwords, made once and kept in the site's vault."""
