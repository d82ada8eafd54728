#!/bin/sh
# Last step inside the new root: what is on, what is off, and nothing that belongs to one machine only.
set -eu
systemctl --quiet set-default multi-user.target
systemctl --quiet enable systemd-networkd.service systemd-resolved.service
systemctl --quiet disable e2scrub_reap.service unattended-upgrades.service e2scrub_all.timer
# Host keys come from the site; without them SSH has to fail, not to invent some.
systemctl --quiet mask sshd-keygen.service
# Neither is answered by anybody on a machine without a user.
systemctl --quiet mask systemd-firstboot.service systemd-pcrmachine.service systemd-pcrphase.service \
    systemd-pcrphase-sysinit.service systemd-tpm2-setup.service systemd-tpm2-setup-early.service
ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf

echo 'en_US.UTF-8 UTF-8' >/etc/locale.gen
locale-gen >/dev/null
echo 'LANG=C.UTF-8' >/etc/default/locale

mkdir -p -m 700 /root/.ssh
mkdir -p /boot/efi /srv /var/lib/homelab-provision
touch /var/lib/homelab-provision/esp
rm -f /etc/ssh/ssh_host_* /etc/hostname /var/lib/systemd/random-seed /var/lib/dbus/machine-id
rm -f /initrd.img.old /vmlinuz.old /etc/.pwd.lock /var/lib/systemd/credential.secret
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb /var/cache/ldconfig /var/log/* /var/cache/debconf/*-old /var/lib/dpkg/*-old
rm -rf /tmp/* /var/tmp/* /run/*
: >/etc/machine-id
# Tells systemd that nothing has to be generated from what lies in /usr.
touch /etc/.updated /var/.updated
