#!/bin/bash
# Images of the application, made from the host's own programs, pushed to a registry on loopback and forgotten here.
# Prints one line each: name and tag, digest.
set -euo pipefail
cat >/root/registry.yml <<'END'
version: 0.1
storage: {filesystem: {rootdirectory: /srv/registry}}
http: {addr: 127.0.0.1:5000}
END
systemd-run --quiet --unit=registry docker-registry serve /root/registry.yml
until (exec 3<>/dev/tcp/127.0.0.1/5000) 2>/dev/null; do sleep 0.2; done
work=$(mktemp -d)
mkdir "$work/usr" "$work/app" "$work/tmp"
for name in bin lib lib64 sbin; do ln -s "usr/$name" "$work/$name"; done
cp /usr/local/lib/notes.py "$work/app/notes.py"
for version in 1.0 1.1 broken large; do
  if [ "$version" = large ]; then head -c 100M /dev/urandom >"$work/app/large"; fi
  image=127.0.0.1:5000/notes:$version
  tar --create --directory="$work" . |
    docker import --change "CMD [\"python3\", \"/app/notes.py\", \"$version\", \"/data\", \"8000\"]" - "$image" >/dev/null
  docker push --quiet "$image" >/dev/null
  echo "$version $(docker image inspect --format '{{index .RepoDigests 0}}' "$image" | cut -d@ -f2)"
  docker image rm --force "$image" >/dev/null
done
