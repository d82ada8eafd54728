#!/bin/sh
# Last step inside the new root: what is on, what is off, and nothing that belongs to one machine only.
set -eu
systemctl --quiet set-default multi-user.target
systemctl --quiet enable systemd-networkd.service systemd-resolved.service nftables.service
mkdir -p /etc/nftables.d /etc/ssh/authorized_keys.d
systemctl --quiet disable e2scrub_reap.service unattended-upgrades.service e2scrub_all.timer
# Host keys come from the site; without them SSH has to fail, not to invent some.
systemctl --quiet mask sshd-keygen.service
# Every unit and generator costs a boot some time, under emulation up to a second each. Masked is what waits for a
# person, measures into a TPM, or mounts what the kernel offers to debuggers; `systemctl unmask` brings any of it back.
systemctl --quiet mask systemd-firstboot.service systemd-binfmt.service systemd-network-generator.service \
    systemd-udev-load-credentials.service systemd-tmpfiles-setup-dev-early.service systemd-pstore.service \
    systemd-pcrmachine.service systemd-pcrphase.service systemd-pcrphase-sysinit.service \
    systemd-tpm2-setup.service systemd-tpm2-setup-early.service systemd-rfkill.socket \
    proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount dev-hugepages.mount dev-mqueue.mount \
    run-lock.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
    sys-fs-fuse-connections.mount modprobe@drm.service modprobe@configfs.service modprobe@efi_pstore.service \
    modprobe@fuse.service
mkdir -p /etc/systemd/system-generators
for generator in bless-boot debug gpt-auto hibernate-resume rc-local run ssh system-update tpm2; do
    ln -s /dev/null "/etc/systemd/system-generators/systemd-$generator-generator"
done
# Greetings are made anew at every login, also for a command.
chmod -x /etc/update-motd.d/*
ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf

# Microcode for every processor: by itself either package takes only what the computer needs that builds the image.
printf 'IUCODE_TOOL_INITRAMFS=early\nIUCODE_TOOL_SCANCPUS=no\n' >>/etc/default/intel-microcode
echo 'AMD64UCODE_INITRAMFS=early' >>/etc/default/amd64-microcode
update-initramfs -u

echo 'en_US.UTF-8 UTF-8' >/etc/locale.gen
locale-gen >/dev/null
echo 'LANG=C.UTF-8' >/etc/default/locale

mkdir -p /root/.ssh
chmod 700 /root/.ssh
mkdir -p /boot/efi /srv /var/lib/homelab-provision
touch /var/lib/homelab-provision/esp
rm -f /etc/ssh/ssh_host_* /etc/hostname /var/lib/systemd/random-seed /var/lib/dbus/machine-id
rm -f /initrd.img.old /vmlinuz.old /etc/.pwd.lock /var/lib/systemd/credential.secret
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb /var/cache/ldconfig /var/log/* /var/cache/debconf/*-old /var/lib/dpkg/*-old
rm -rf /tmp/* /var/tmp/* /run/*
: >/etc/machine-id
# Tells systemd that nothing has to be generated from what lies in /usr.
touch /etc/.updated /var/.updated
