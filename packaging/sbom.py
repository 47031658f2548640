#!/usr/bin/env python3
"""sbom.py TRIPLE SBOM NOTICES: writes what is linked into the program, as CycloneDX, and its copyright notices.

cargo-cyclonedx lists what the lock file allows, with the crates of macros and tests, and folders of this machine.
`cargo tree` knows which of them the program has. A second run writes the same bytes.
"""
import json, os, pathlib, shutil, subprocess, sys, tempfile, uuid

triple, sbom, notices = sys.argv[1:]


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


tree = output('cargo', 'tree', '--locked', '--package=pounce', '--edges=normal,no-proc-macro', '--prefix=none',
              '--no-dedupe', '--format={p}', f'--target={triple}')
linked = {tuple(line.split()[:2]) for line in tree.splitlines()}

# It writes beside every Cargo.toml, so it gets copies of them.
with tempfile.TemporaryDirectory() as copy:
    for name in ['Cargo.toml', 'Cargo.lock']:
        shutil.copy(name, copy)
    for name in ['src', 'tests', 'benches', 'packaging']:
        shutil.copytree(name, pathlib.Path(copy, name))
    subprocess.run(['cargo', 'cyclonedx', '-qq', '--manifest-path', f'{copy}/Cargo.toml', '--format', 'json',
                    '--spec-version', '1.5', '--target', triple, '--no-build-deps', '--override-filename', 'sbom'],
                   check=True)
    text = pathlib.Path(copy, 'sbom.json').read_text().replace(f'path+file://{copy}', 'path+file:///pounce')
document = json.loads(text)
document['components'] = [one for one in document['components'] if (one['name'], 'v' + one['version']) in linked]
known = {one['bom-ref'] for one in document['components']} | {document['metadata']['component']['bom-ref']}
document['dependencies'] = [
    {key: [ref for ref in value if ref in known] if key == 'dependsOn' else value for key, value in one.items()}
    for one in document['dependencies'] if one['ref'] in known]
missing = {one for one in linked if one[0] != 'pounce'} - {(one['name'], 'v' + one['version']) for one in document['components']}
if missing:
    sys.exit(f'linked, and not in the SBOM: {sorted(missing)}')
document['serialNumber'] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document)).urn
pathlib.Path(sbom).write_text(json.dumps(document, indent=1) + '\n')

# The crates of one text stand together.
packages = json.loads(output('cargo', 'metadata', '--locked', '--format-version=1'))['packages']
texts = {}
for package in sorted(packages, key=lambda one: (one['name'], one['version'])):
    if (package['name'], 'v' + package['version']) not in linked or package['name'] == 'pounce':
        continue
    folder = pathlib.Path(package['manifest_path']).parent
    files = [file for file in sorted(folder.iterdir()) if file.is_file()
             and file.name.upper().startswith(('LICENSE', 'LICENCE', 'COPYING', 'COPYRIGHT', 'NOTICE', 'UNLICENSE'))]
    name = f"{package['name']} {package['version']} ({package['license']})"
    for text in [file.read_text().strip() for file in files] or [f"by {', '.join(package['authors']) or 'its authors'}"]:
        texts.setdefault(text, []).append(name)
with open(notices, 'w') as file:
    file.write('The program pounce is made of pounce itself (Apache-2.0), of the crates below, of the Rust standard library\n'
               '(MIT or Apache-2.0, https://github.com/rust-lang/rust) and of the GNU C library (LGPL-2.1-or-later,\n'
               'https://www.gnu.org/software/libc/), to a newer version of which `make release` links it again.\n')
    for text, names in texts.items():
        file.write(f"\n{'-' * 80}\n{', '.join(names)}\n\n{text}\n")
