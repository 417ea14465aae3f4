"""What to do about the kernel, a node or a right, in the words of this distribution."""

from __future__ import annotations

from enum import StrEnum

from local_opus.values import Device, Fix, HostFacts, Needs


class Family(StrEnum):
    """Distributions by how they install."""

    APT = "apt"
    DNF = "dnf"
    ZYPPER = "zypper"
    PACMAN = "pacman"
    NIX = "nix"
    OTHER = "other"


_FAMILIES = {
    Family.APT: "debian ubuntu pop linuxmint elementary zorin neon kali devuan raspbian tuxedo",
    Family.DNF: "fedora rhel centos rocky almalinux ol nobara bazzite silverblue ultramarine",
    Family.ZYPPER: "opensuse opensuse-leap opensuse-tumbleweed opensuse-slowroll sles sled suse",
    Family.PACMAN: "arch archlinux manjaro endeavouros cachyos garuda artix omarchy",
    Family.NIX: "nixos",
}
UBUNTU = ["ubuntu", "pop", "linuxmint", "elementary", "zorin", "neon", "tuxedo"]
_KERNEL = {
    Family.APT: "sudo apt update && sudo apt full-upgrade",
    Family.DNF: "sudo dnf upgrade kernel",
    Family.ZYPPER: "sudo zypper update kernel-default",
    Family.PACMAN: "sudo pacman -Syu linux",
}
_NIX_KERNEL = "boot.kernelPackages = pkgs.linuxPackages_latest;"


def family(facts: HostFacts) -> Family:
    """Return how this system installs packages."""
    return next((one for one, ids in _FAMILIES.items() if facts.os.id in ids.split()), Family.OTHER)


def in_container(facts: HostFacts) -> bool:
    """Say whether the kernel, its modules and its firmware are another system's: the host's."""
    return facts.os.container is not None


def newer_kernel(
    facts: HostFacts, least: str | None, module: str, wanted: str = "a newer kernel"
) -> Fix:
    """Return how to come to a kernel that has a driver."""
    wanted = f"kernel {least} or newer" if least else wanted
    if in_container(facts):
        return Fix(text=f"The container's host needs {wanted}, with {module}.", needs=Needs.REBOOT)
    if family(facts) is Family.NIX:
        return nix(
            f"Run {wanted}", "boot.kernelPackages = pkgs.linuxPackages_latest;", Needs.REBOOT
        )
    command = _KERNEL.get(family(facts))
    more = " (Ubuntu LTS: the HWE kernel; Debian: backports)" if family(facts) is Family.APT else ""
    return Fix(
        text=f"Install {wanted}, with {module}{more}, and start it.",
        commands=(command,) if command else (),
        needs=Needs.REBOOT,
    )


def missing_module(facts: HostFacts, module: str, option: str) -> Fix:
    """Return what to do where this kernel was built or installed without a module."""
    if in_container(facts):
        return Fix(
            text=f"The container's host needs a kernel with {option} (the module {module}).",
            needs=Needs.REBOOT,
        )
    if facts.os.id in UBUNTU:
        return Fix(
            text=f"Install the rest of this kernel's modules, {module} among them; if that "
            f"does not have it, a kernel with {option}.",
            commands=(
                "sudo apt install linux-modules-extra-$(uname -r)",
                f"sudo modprobe {module}",
            ),
        )
    return newer_kernel(facts, None, f"{option} (the module {module})", wanted="a kernel")


def load_module(facts: HostFacts, module: str) -> Fix:
    """Return how to load a module that is there."""
    where = "On the container's host: load" if in_container(facts) else "Load"
    return Fix(
        text=f"{where} the module {module}; if it stays out, a file of /etc/modprobe.d may "
        "forbid it.",
        commands=(
            f"sudo modprobe {module}",
            f"grep -rs {module} /etc/modprobe.d /usr/lib/modprobe.d",
        ),
    )


def kernel_log(facts: HostFacts, words: str, before: str = "") -> Fix:
    """Return how to look at what the kernel says; nothing that this program may read tells it."""
    where = (
        "the kernel's log on the container's host" if in_container(facts) else "the kernel's log"
    )
    return Fix(
        text=f"{before}Look for its errors in {where}.",
        commands=(f"sudo dmesg | grep -i -E '{words}'",),
    )


def force_probe(facts: HostFacts, module: str, number: str, least: str) -> Fix:
    """Return the two ways to have a kernel bind a driver that it holds back."""
    kernel = newer_kernel(facts, least, module)
    return kernel.model_copy(
        update={
            "text": f"{kernel.text[:-1]}; or boot this kernel with {module}.force_probe={number}."
        }
    )


def rebind(held: str, module: str, address: str) -> Fix:
    """Return what to do about a device that another driver holds."""
    if held in {"vfio-pci", "pci-stub", "xen-pciback"}:
        return Fix(
            text=f"{held} keeps it for a virtual machine. If this machine itself is to use "
            f"it, take its id out of the {held} settings (kernel command line, "
            f"/etc/modprobe.d), so that {module} gets it.",
            needs=Needs.REBOOT,
        )
    return Fix(
        text=f"Bind it to {module} if this machine itself is to use it.",
        commands=(
            f"echo {address} | sudo tee /sys/bus/pci/drivers/{held}/unbind",
            f"echo {address} | sudo tee /sys/bus/pci/drivers/{module}/bind",
        ),
    )


def remove_stale(stale: str) -> Fix:
    """Return how to be rid of a driver library that was left by an older release."""
    return Fix(
        text="Remove the older driver library; the loader takes both, and they do not mix.",
        commands=(f"sudo rm {stale}*", "sudo ldconfig"),
    )


def join_group(facts: HostFacts, node: str, group: str) -> Fix:
    """Return how this user comes into the group of a node."""
    if in_container(facts):
        return Fix(
            text=f"Start the container with --device {node} and with --group-add and the "
            f"number that this prints.",
            commands=(f"stat -c %g {node}",),
            needs=Needs.CONTAINER,
        )
    if family(facts) is Family.NIX:
        return nix(
            f"Add the user to the group {group}",
            f'users.users.NAME.extraGroups = [ "{group}" ];',
            Needs.NEW_LOGIN,
        )
    return Fix(
        text=f"Add this user to the group {group}, then log in again.",
        commands=(f"sudo usermod -aG {group} $USER",),
        needs=Needs.NEW_LOGIN,
    )


def unit_with_group(group: str, kind: Device) -> Fix:
    """Return how the service comes into the group of a node: an install looks who owns it."""
    return Fix(
        text=f"Install again for the {kind.value}: the server's unit then has the group {group}.",
        commands=(f"sudo local-opus install --local-opus --device {kind.value}",),
    )


def udev_rule(facts: HostFacts, node: str) -> Fix:
    """Return the rule that gives a node to the group render."""
    if in_container(facts):
        return Fix(
            text=f"On the container's host: give {node} to the group render with mode 0660 "
            "(a udev rule), then start the container with that group.",
            needs=Needs.CONTAINER,
        )
    kernel = 'SUBSYSTEM=="accel", KERNEL=="accel*"'
    if node.startswith("/dev/dri"):
        kernel = 'SUBSYSTEM=="drm", KERNEL=="renderD*"'
    rule = f'{kernel}, GROUP="render", MODE="0660"'
    if family(facts) is Family.NIX:
        return nix("Add a udev rule", f"services.udev.extraRules = ''{rule}'';")
    return Fix(
        text="Add a udev rule that gives the node to the group render with mode 0660; a "
        "user must be in that group.",
        commands=(
            f"echo '{rule}' | sudo tee /etc/udev/rules.d/70-local-opus-render.rules",
            "sudo udevadm control --reload",
            "sudo udevadm trigger",
        ),
    )


def make_node(facts: HostFacts, node: str) -> Fix:
    """Return what brings a node that the kernel announces into /dev."""
    if in_container(facts):
        return Fix(
            text=f"Start the container with --device {node.rpartition('/')[0]}.",
            needs=Needs.CONTAINER,
        )
    return Fix(text="Have udev make the device nodes again.", commands=("sudo udevadm trigger",))


def nix(what: str, setting: str, needs: Needs = Needs.NOTHING) -> Fix:
    """Return a setting of NixOS."""
    return Fix(
        text=f"{what} in /etc/nixos/configuration.nix: {setting}",
        commands=("sudo nixos-rebuild switch",),
        needs=needs,
    )
