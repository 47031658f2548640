#!/usr/bin/python3
"""unshare --mount unit.py ROOT UNIT: becomes the process of a service below the folder ROOT, in the place of systemd.

It asks of the kernel what the unit's lines say: the user, which files can be written, which system calls there are,
capabilities, limits. A line that stands neither here nor in SYSTEMD is an error, so that a new one is thought of.
"""
import ctypes, os, re, resource, shlex, socket, subprocess, sys
import seccomp  # Debian's python3-seccomp

root, unit = sys.argv[1:]
# What systemd does before, after or around a process, or by namespaces and devices.
SYSTEMD = set('Type ExecReload Restart RestartSec TimeoutStopSec PrivateDevices PrivateUsers ProtectHome ProtectHostname '
              'ProtectKernelTunables ProtectKernelModules ProtectKernelLogs ProtectControlGroups ProtectClock RemoveIPC '
              'KeyringMode RestrictNamespaces RestrictRealtime RestrictSUIDSGID LockPersonality AmbientCapabilities '
              'SystemCallArchitectures SystemCallErrorNumber'.split())
service = re.search(r'^\[Service]\n(.*?)(?=^\[)', open(root + unit).read(), re.M | re.S)[1]
lines = [line.split('=', 1) for line in service.splitlines() if line and not line.startswith('#')]
filters = [value for key, value in lines if key == 'SystemCallFilter']
settings = {key: value for key, value in lines if key not in SYSTEMD}
libc = ctypes.CDLL(None, use_errno=True)
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38


def take(key, *expected):
    value = settings.pop(key)
    assert not expected or value in expected, f'{key}={value}: unit.py does not know it'
    return value


def calls(name):
    """The system calls of a group, as systemd has them."""
    if not name.startswith('@'):
        return {name}
    text = subprocess.run(['systemd-analyze', 'syscall-filter', name], check=True, stdout=subprocess.PIPE, text=True).stdout
    return set().union(*[calls(one) for one in re.findall(r'^ +([@\w-]+)$', text, re.M)])


# The filter: what is not allowed is an error, and not the end.
take('SystemCallFilter')
allowed = calls('@default')
for text in filters:
    listed = set().union(*[calls(one) for one in text.lstrip('~').split()])
    allowed = allowed - listed if text.startswith('~') else allowed | listed
rules, families = seccomp.SyscallFilter(seccomp.ERRNO(1)), take('RestrictAddressFamilies').split()
take('MemoryDenyWriteExecute', 'yes')
WRITE, EXECUTE = 2, 4
arguments = {
    'socket': [seccomp.Arg(0, seccomp.EQ, getattr(socket, family)) for family in families],
    'mmap': [seccomp.Arg(2, seccomp.MASKED_EQ, bit, 0) for bit in (WRITE, EXECUTE)],
    'mprotect': [seccomp.Arg(2, seccomp.MASKED_EQ, EXECUTE, 0)],
    'pkey_mprotect': [seccomp.Arg(2, seccomp.MASKED_EQ, EXECUTE, 0)],
}
for name in allowed:
    for argument in arguments.get(name, [None]):
        try:
            rules.add_rule(seccomp.ALLOW, name, *([argument] if argument else []))
        except (OSError, RuntimeError, ValueError):
            pass  # a call of other architectures

# The files: all of them can be read, and the state's folder and /tmp written.
state = f"/var/lib/{take('StateDirectory')}"
user = take('User')
with open(f'{root}/etc/passwd') as file:
    uid, gid = next(map(int, line.split(':')[2:4]) for line in file if line.startswith(user + ':'))
mode = int(take('StateDirectoryMode'), 8)
if not os.path.isdir(root + state):
    os.mkdir(root + state)
os.chmod(root + state, mode)
os.chown(root + state, uid, gid)
take('ProtectSystem', 'strict'), take('PrivateTmp', 'yes'), take('ProtectProc', 'invisible'), take('ProcSubset', 'pid')
for mount in [['--bind', root, root], ['--bind', root + state, root + state], ['-o', 'remount,bind,ro', root],
              ['-t', 'tmpfs', 'tmpfs', f'{root}/tmp'],
              ['-t', 'proc', '-o', 'hidepid=invisible,subset=pid', 'proc', f'{root}/proc']]:
    subprocess.run(['mount', *mount], check=True)

environment = {'PATH': '/usr/local/bin:/usr/bin:/bin', 'LANG': 'C.UTF-8', 'USER': user}
with open(root + take('EnvironmentFile').lstrip('-')) as file:
    environment.update(re.findall(r'^(\w+)=(.*)$', file.read(), re.M))
# Where this process itself has less, it cannot give more.
files = min(int(take('LimitNOFILE')), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
os.umask(int(take('UMask'), 8))
command = shlex.split(take('ExecStart'))
os.chroot(root)
os.chdir(take('WorkingDirectory'))
assert take('CapabilityBoundingSet') == '' and take('NoNewPrivileges') == 'yes'
for capability in range(64):
    libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
assert not settings, f'unit.py does not know {settings}'
os.setgroups([])
os.setresgid(gid, gid, gid)
os.setresuid(uid, uid, uid)
assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
rules.load()
os.execve(command[0], command, environment)
