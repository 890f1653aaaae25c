"""Side by side measurements of samebundle, skopeo, crane, regctl, cosign, runc and kfp.local; prints tables with ratios.

Each figure is the least of a few runs, the tools taking turns. The disk is synced before each: nobody waits for what another
left unwritten. Memory is the largest resident set of any process that the command started. A ratio is samebundle's time
divided by the best rival's: below 1 is faster. Registries listen on the loopback, store in files, and are wiped before every
counted push and copy. Rivals always speak to docker-registry; rows that end in "(own server)" are our command with
`samebundle registry serve` in its place.
"""

import argparse
import hashlib
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.parse

MIB = 1024 * 1024
LIMIT_MIB = 64
# What a release takes for nothing but its start. A build for tests has more pages of code, which are no buffers.
START_MIB = 13
LIMIT_VERIFY_S = 0.05


class Failed(Exception):
    pass


def run(command, env=None, cwd=None):
    """Run a command; (seconds, CPU seconds, peak memory in MiB). Raises with its words when it fails."""
    with tempfile.TemporaryFile() as out:
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env, cwd=cwd)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            out.seek(0)
            raise Failed(f"{' '.join(map(str, command))}: exit {process.returncode}\n{out.read().decode(errors='replace')[-2000:]}")
    # ru_maxrss is in KiB; of a child made by fork it can start at the parent's own, so the parent stays small.
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def measured(step):
    """The same of a command, or of a function that measures itself."""
    return step() if callable(step) else run(step)


class Registry:
    """A registry on a free port, with its files in a folder; `wipe` starts it anew and empty."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.process = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % probe.getsockname()[1]

    def command(self):
        """Debian's docker-registry."""
        config = self.folder / "config.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.folder}/data}}}}\nhttp: {{addr: {self.address}}}\n"
        )
        return ["docker-registry", "serve", str(config)]

    def wipe(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        log = open(self.folder / "log", "w")
        self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        host, port = self.address.split(":")
        for _ in range(400):
            try:
                socket.create_connection((host, int(port)), 0.2).close()
                return
            except OSError:
                time.sleep(0.02)
        raise Failed(f"{self.command()[0]} did not start")

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None


class OwnRegistry(Registry):
    """`samebundle registry serve`."""

    def __init__(self, folder, samebundle):
        super().__init__(folder)
        self.samebundle = samebundle

    def command(self):
        data = self.folder / "data"
        return [self.samebundle, "--home", str(self.folder / "home"), "registry", "serve", "--listen", self.address, "--root", str(data)]


class SecureRegistry(OwnRegistry):
    """The same by TLS."""

    def command(self):
        certificate, key = self.folder / "cert.pem", self.folder / "key.pem"
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "9",
             "-subj", "/CN=bench", "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", str(key), "-out", str(certificate)])
        return [*super().command(), "--tls-certificate", str(certificate), "--tls-key", str(key)]

    def trusted(self, command):
        """A client's command that takes the certificate."""
        return ["env", f"SSL_CERT_FILE={self.folder}/cert.pem", f"SAMEBUNDLE_SECURE_REGISTRIES={self.address}", *command]


OURS, OWN = "samebundle", " (own server)"


class Table:
    """A few tools that do the same thing in turn. The aims are the ratios that are to be reached: ours, and with our server;
    the bench is told what is not reached, and which of our commands failed."""

    def __init__(self, title, times, bench=None, aim=None, own_aim=None, cpu_aim=None):
        self.title, self.times, self.rows = title, times, []
        self.bench, self.aim, self.own_aim, self.cpu_aim = bench, aim, own_aim, cpu_aim

    def add(self, name, command, before=lambda: None):
        self.rows.append((name, command, before))

    def measure(self):
        results = {name: [] for name, _, _ in self.rows}
        for _ in range(self.times):
            for name, command, before in self.rows:
                if results[name] is None:
                    continue
                before()
                os.sync()
                try:
                    results[name].append(measured(command))
                except (Failed, OSError) as error:
                    print(f"{self.title}: {name}: {error}", file=sys.stderr)
                    results[name] = None
        return self.show(results)

    def miss(self, what, value, aim):
        if self.bench is not None and aim is not None and value > aim:
            self.bench.missed.append(f"{self.title}: {what} {value:.2f}, to be at most {aim}")

    def show(self, results):
        wall = {name: min(row[0] for row in rows) for name, rows in results.items() if rows}
        cpu = {name: min(row[1] for row in rows) for name, rows in results.items() if rows}
        rivals = [name for name in wall if not name.startswith(OURS)]
        print(f"\n### {self.title} (least of {self.times})")
        print("| tool | wall s | cpu s | rss MiB | wall ratio | cpu ratio |\n|---|---|---|---|---|---|")
        for name, rows in results.items():
            if not rows:
                print(f"| {name} | failed | | | | |")
                if name.startswith(OURS) and self.bench is not None:
                    self.bench.failed.append(f"{self.title}: {name} failed")
                continue
            ratios = "| |"
            if name.startswith(OURS) and rivals:
                of_wall = wall[name] / min(wall[rival] for rival in rivals)
                of_cpu = cpu[name] / max(min(cpu[rival] for rival in rivals), 0.01)
                ratios = f"{of_wall:.2f} | {of_cpu:.2f} |"
                self.miss(f"{name}, wall ratio", of_wall, self.own_aim if name.endswith(OWN) else self.aim)
                self.miss(f"{name}, cpu ratio", of_cpu, self.cpu_aim)
            print(f"| {name} | {wall[name]:.3f} | {cpu[name]:.2f} | {max(r[2] for r in rows):.0f} | {ratios}")
        sys.stdout.flush()
        return results


def noise(path, size, seed):
    """Incompressible content, the same for the same seed."""
    chance = random.Random(seed)
    with open(path, "wb") as file:
        while size > 0:
            file.write(chance.randbytes(min(size, MIB)))
            size -= MIB


def image(folder, layers, size):
    """An image of raw tar layers as an OCI layout, tagged v1."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data, media, **more):
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(data), **more}

    entries = []
    for number in range(layers):
        raw = folder / "raw"
        noise(raw, size, number)
        tar = folder / "tar"
        with tarfile.open(tar, "w") as out:
            info = out.gettarinfo(raw, f"data/{number}.bin")
            info.mtime = info.uid = info.gid = 0
            info.uname = info.gname = ""
            with open(raw, "rb") as file:
                out.addfile(info, file)
        digest = hashlib.sha256()
        with open(tar, "rb") as file:
            while piece := file.read(MIB):
                digest.update(piece)
        length = tar.stat().st_size
        tar.rename(blobs / digest.hexdigest())
        raw.unlink()
        entries.append({
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": f"sha256:{digest.hexdigest()}",
            "size": length,
        })
    oci = "application/vnd.oci.image."
    config = put(
        json.dumps({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [entry["digest"] for entry in entries]},
        }).encode(),
        oci + "config.v1+json",
    )
    manifest = {"schemaVersion": 2, "mediaType": oci + "manifest.v1+json", "config": config, "layers": entries}
    top = put(json.dumps(manifest).encode(), oci + "manifest.v1+json", annotations={"org.opencontainers.image.ref.name": "v1"})
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": oci + "index.v1+json", "manifests": [top]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return folder


class Bench:
    def __init__(self, options):
        self.options = options
        self.work = pathlib.Path(options.work)
        self.cache = pathlib.Path(options.cache)
        self.full = options.size == "full"
        self.times = options.times if self.full else 1
        self.a, self.b = Registry(self.work / "a"), Registry(self.work / "b")
        self.own_a = OwnRegistry(self.work / "own-a", options.samebundle)
        self.own_b = OwnRegistry(self.work / "own-b", options.samebundle)
        self.secure = SecureRegistry(self.work / "secure", options.samebundle)
        self.missed, self.failed = [], []
        os.environ["HOME"] = str(self.work)

    def same(self, home, *arguments):
        return [self.options.samebundle, "--home", str(self.work / home), *map(str, arguments)]

    def empty(self, *names):
        def clean():
            for name in names:
                path = self.work / name
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        return clean

    def greet(self, name, image=None):
        """A copy of the program greet on an image: a layout, or the busybox of the set-up. Returns its folder."""
        source = self.work / name
        shutil.copytree(pathlib.Path("tests/programs/greet"), source)
        image = image or (self.cache / "images/busybox").resolve()
        manifest = source / "samebundle.yaml"
        manifest.write_text(manifest.read_text().replace("layout:images/busybox", f"layout:{image}"))
        return source

    def table(self, title, **aims):
        """A table whose aims count in the full size only: the small one shows that the bench works."""
        return Table(title, self.times, self, **(aims if self.full else {}))

    def transfer(self, title, layout):
        """push, pull, copy, archive and load of one image, every tool from and to the same kinds of place."""
        home = "home-" + layout.name
        from_layout = f"oci:{layout}:v1"
        places = (self.a, self.b, self.own_a, self.own_b)
        at_a, at_b, own_a, own_b = (f"{registry.address}/bench/image:1" for registry in places)
        skopeo = ["skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests"]
        plain = [f"--host=reg={registry.address},tls=disabled" for registry in (self.a, self.b)]
        regctl = ["regctl", *plain, "image"]

        table = self.table(f"push {title} to an empty registry", aim=1.0, own_aim=0.5, cpu_aim=1.0)
        table.add("samebundle copy", self.same(home, "copy", f"layout:{layout}", at_a), self.a.wipe)
        table.add("samebundle copy" + OWN, self.same(home, "copy", f"layout:{layout}", own_a), self.own_a.wipe)
        table.add("skopeo copy", [*skopeo, "--dest-tls-verify=false", from_layout, f"docker://{at_a}"], self.a.wipe)
        table.add("crane push", ["crane", "push", "--insecure", str(layout), at_a], self.a.wipe)
        table.add("regctl image copy", [*regctl, "copy", f"ocidir://{layout}:v1", at_a], self.a.wipe)
        table.measure()

        secure, by_tls = self.secure, f"{self.secure.address}/bench/image:1"
        table = self.table(f"push {title} by TLS to our server", aim=1.0, cpu_aim=1.0)
        for name, command in (
            ("samebundle copy", self.same(home, "copy", f"layout:{layout}", by_tls)),
            ("skopeo copy", [*skopeo, from_layout, f"docker://{by_tls}"]),
            ("crane push", ["crane", "push", str(layout), by_tls]),
            ("regctl image copy", ["regctl", "image", "copy", f"ocidir://{layout}:v1", by_tls]),
        ):
            table.add(name, secure.trusted(command), secure.wipe)
        table.measure()
        secure.stop()

        for registry, place in ((self.a, at_a), (self.own_a, own_a)):
            # Whatever the last row of the table above left there.
            registry.wipe()
            run(self.same(home, "copy", f"layout:{layout}", place))
        table = self.table(f"pull {title} to an empty layout", aim=1.0, own_aim=0.5, cpu_aim=1.0)
        pulled = [self.work / f"pulled-{name}" for name in ("same", "own", "skopeo", "crane", "regctl")]
        clean = self.empty(*(place.name for place in pulled))
        table.add("samebundle copy", self.same(home, "copy", at_a, f"layout:{pulled[0]}"), clean)
        table.add("samebundle copy" + OWN, self.same(home, "copy", own_a, f"layout:{pulled[1]}"), clean)
        table.add("skopeo copy", [*skopeo, "--src-tls-verify=false", f"docker://{at_a}", f"oci:{pulled[2]}:bench:v1"], clean)
        table.add("crane pull", ["crane", "pull", "--insecure", "--format=oci", at_a, str(pulled[3])], clean)
        table.add("regctl image copy", [*regctl, "copy", at_a, f"ocidir://{pulled[4]}:bench"], clean)
        table.measure()
        clean()

        table = self.table(f"copy {title} between registries", aim=1.0, own_aim=0.5, cpu_aim=1.0)
        table.add("samebundle copy", self.same(home, "copy", at_a, at_b), self.b.wipe)
        table.add("samebundle copy" + OWN, self.same(home, "copy", own_a, own_b), self.own_b.wipe)
        table.add("skopeo copy", [*skopeo, "--src-tls-verify=false", "--dest-tls-verify=false", f"docker://{at_a}", f"docker://{at_b}"], self.b.wipe)
        table.add("crane copy", ["crane", "copy", "--insecure", at_a, at_b], self.b.wipe)
        table.add("regctl image copy", [*regctl, "copy", at_a, at_b], self.b.wipe)
        table.measure()

        table = self.table(f"archive {title}: registry to one tar", aim=0.8, own_aim=0.8)
        tars = [self.work / f"{name}.tar" for name in ("same", "own", "skopeo", "crane", "regctl")]
        clean = self.empty(*(tar.name for tar in tars))
        archiving = [
            ("samebundle copy", self.same(home, "copy", at_a, f"archive:{tars[0]}")),
            ("samebundle copy" + OWN, self.same(home, "copy", own_a, f"archive:{tars[1]}")),
            ("skopeo copy", [*skopeo, "--src-tls-verify=false", f"docker://{at_a}", f"oci-archive:{tars[2]}:bench:v1"]),
            ("crane pull", ["crane", "pull", "--insecure", at_a, str(tars[3])]),
            ("regctl image export", [*regctl, "export", at_a, str(tars[4])]),
        ]
        for name, command in archiving:
            table.add(name, command, clean)
        table.measure()
        for _, command in archiving:
            run(command)

        table = self.table(f"load {title}: one tar to an empty registry", aim=0.8, own_aim=0.8)
        table.add("samebundle copy", self.same(home, "copy", f"archive:{tars[0]}", at_b), self.b.wipe)
        table.add("samebundle copy" + OWN, self.same(home, "copy", f"archive:{tars[1]}", own_b), self.own_b.wipe)
        table.add("skopeo copy", [*skopeo, "--dest-tls-verify=false", f"oci-archive:{tars[2]}:bench:v1", f"docker://{at_b}"], self.b.wipe)
        table.add("crane push", ["crane", "push", "--insecure", str(tars[3]), at_b], self.b.wipe)
        table.add("regctl image import", [*regctl, "import", at_b, str(tars[4])], self.b.wipe)
        table.measure()
        clean()
        for registry in places:
            registry.stop()

    def memory(self, layout):
        """Peak memory of every step of the road with the large layer in a bundle."""
        source = self.greet("bundle", layout)
        self.a.wipe()
        place, file = f"{self.a.address}/bench/bundle:1", self.work / "bundle.tgz"
        volumes, cut = self.work / "volumes.tgz", "100MB" if self.full else "2MB"

        def one_lost():
            (self.work / "volumes.tgz.v002").unlink()
            return run(self.same("m2", "copy", volumes, f"layout:{self.work / 'm4'}"))

        steps = [
            ("build", self.same("m1", "build", source, "-t", "greet")),
            ("push", self.same("m1", "push", "greet", place)),
            ("pull", self.same("m2", "pull", place, "--allow-unsigned")),
            ("install", self.same("m2", "install", "greet", "--allow-unsigned")),
            ("export", self.same("m2", "export", "greet", "--file", file)),
            ("import", self.same("m3", "import", file, "--allow-unsigned")),
            ("copy to volumes", self.same("m2", "copy", place, volumes, "--volume-size", cut, "--parity", "2")),
            ("copy of volumes, one lost", one_lost),
        ]
        of_tests = max(0, run(self.same("m1", "--version"))[2] - START_MIB)
        limit = LIMIT_MIB + of_tests
        print(f"\n### peak memory of the road with a {'1 GiB' if self.full else '16 MiB'} layer (limit {limit:.0f} MiB)")
        print("| step | wall s | cpu s | rss MiB | |\n|---|---|---|---|---|")
        for name, command in steps:
            try:
                wall, cpu, rss = measured(command)
            except Failed as error:
                print(f"| {name} | failed | | | |\n{error}")
                self.failed.append(f"memory: {name} failed")
                break
            verdict = "ok" if rss <= limit else "TOO MUCH"
            print(f"| {name} | {wall:.2f} | {cpu:.2f} | {rss:.0f} | {verdict} |")
            if rss > limit:
                self.missed.append(f"memory: {name} took {rss:.0f} MiB")
        self.a.stop()
        for home in ("m1", "m2", "m3", "m4"):
            shutil.rmtree(self.work / home, ignore_errors=True)
        for volume in self.work.glob("volumes.tgz.*"):
            volume.unlink()

    def verify(self):
        """Who signed a small bundle: in the store, in a registry, and by cosign with the key alone."""
        self.greet("signed")
        key = self.work / "signer.pub"
        self.a.wipe()
        place = f"{self.a.address}/bench/signed:1"
        for command in (("key", "generate", "--no-passphrase"), ("key", "export", "default", "--file", key),
                        ("build", self.work / "signed", "-t", "signed"), ("sign", "signed"), ("push", "signed", place)):
            run(self.same("signer", *command))
        table = self.table("verify a signed bundle", aim=1.0)
        table.add("samebundle verify, in a registry", self.same("signer", "verify", place))
        table.add("samebundle verify, in the store", self.same("signer", "verify", "signed"))
        # A proxy where nobody listens: it needs nobody but the registry.
        table.add("cosign verify", ["env", f"HOME={self.work}", "HTTPS_PROXY=http://127.0.0.1:9", "cosign3", "verify",
                                    "--insecure-ignore-tlog=true", "--allow-http-registry", "--key", str(key), place])
        for name, rows in table.measure().items():
            if self.full and name.startswith(OURS) and rows and min(row[0] for row in rows) > LIMIT_VERIFY_S:
                self.missed.append(f"{name}: more than {LIMIT_VERIFY_S} s")
        self.a.stop()

    def delta(self):
        """What a pull of a second version moves to a home that has the first: a model with 1 % changed in 100 places, and a
        data set with 10 % appended."""
        size = 1024 * MIB if self.full else 16 * MIB

        def fine_tuned(old, new):
            shutil.copyfile(old, new)
            chance = random.Random(1)
            with open(new, "r+b") as file:
                for place in range(100):
                    file.seek(place * (size // 100) + 12345)
                    file.write(chance.randbytes(size // 10000))

        def appended(old, new):
            shutil.copyfile(old, new)
            with open(new, "ab") as file:
                for number in range(size // 10 // MIB or 1):
                    file.write(random.Random(1000 + number).randbytes(min(MIB, size // 10)))

        print(f"\n### bytes moved by a pull of the second version of {size // MIB} MiB")
        print("| what | registry | MiB | percent | aim |\n|---|---|---|---|---|")
        for what, change, aim in (("1 % changed in 100 places", fine_tuned, 3), ("10 % appended", appended, 11)):
            source = self.greet("delta")
            with open(source / "samebundle.yaml", "a") as manifest:
                manifest.write("data:\n  - {name: big, file: big.bin}\n")
            old, new = self.work / "old.bin", source / "big.bin"
            noise(old, size, 7)
            shutil.copyfile(old, new)
            run(self.same("delta-author", "build", source, "-t", "old"))
            change(old, new)
            run(self.same("delta-author", "build", source, "-t", "new"))
            for name, registry in (("docker-registry", self.a), ("our server", self.own_a)):
                registry.wipe()
                moved = {}
                for tag in ("old", "new"):
                    place = f"{registry.address}/bench/delta:{tag}"
                    run(self.same("delta-author", "push", tag, place))
                    command = self.same("delta-reader", "--output", "json", "pull", place, "--allow-unsigned")
                    pulled = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
                    moved[tag] = json.loads(pulled.stdout)["sent"]["bytes"]
                percent = 100 * moved["new"] / moved["old"]
                print(f"| {what} | {name} | {moved['new'] / MIB:.1f} | {percent:.2f} | {aim} |")
                if self.full and percent > aim:
                    self.missed.append(f"delta: {what}, {name}: {percent:.2f} %, to be at most {aim}")
                registry.stop()
                shutil.rmtree(self.work / "delta-reader")
            shutil.rmtree(source)
            shutil.rmtree(self.work / "delta-author")
            old.unlink()
        sys.stdout.flush()

    def bounds(self, layout):
        """What a transfer of one large layer cannot be faster than, whoever does it: each part of the work alone, by this
        script and without anything beside it."""
        blobs = layout / "blobs/sha256"
        blob = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
        size = blob.stat().st_size
        copied = self.work / "bound"

        def hashed():
            digest = hashlib.sha256()
            with open(blob, "rb") as file:
                while piece := file.read(MIB):
                    digest.update(piece)

        def written():
            shutil.copyfile(blob, copied)
            with open(copied, "rb") as file:
                os.fsync(file.fileno())
            copied.unlink()

        def looped():
            with socket.create_server(("127.0.0.1", 0)) as server:
                def send():
                    with socket.create_connection(server.getsockname()) as out, open(blob, "rb") as file:
                        out.sendfile(file)

                sender = threading.Thread(target=send)
                sender.start()
                peer, buffer, left = server.accept()[0], bytearray(MIB), size
                with peer:
                    while left > 0:
                        left -= peer.recv_into(buffer) or left
                sender.join()

        def taken(registry):
            """One PUT of everything, read by the system."""
            client = http.client.HTTPConnection(registry.address)
            client.request("POST", "/v2/bench/bound/blobs/uploads/")
            answer = client.getresponse()
            answer.read()
            url = urllib.parse.urlsplit(answer.headers["Location"])
            query = url.query + ("&" if url.query else "") + f"digest=sha256:{blob.name}"
            client.putrequest("PUT", f"{url.path}?{query}")
            client.putheader("Content-Length", str(size))
            client.putheader("Content-Type", "application/octet-stream")
            client.endheaders()
            with open(blob, "rb") as file:
                client.sock.sendfile(file)
            answer = client.getresponse()
            if answer.status != 201:
                raise Failed(f"{registry.address} answers {answer.status}")

        def alone(work):
            def go():
                start, before = time.monotonic(), time.process_time()
                work()
                return time.monotonic() - start, time.process_time() - before, 0
            return go

        table = self.table(f"what bounds it: {size / MIB:.0f} MiB")
        table.add("sha256 on one core", alone(hashed))
        table.add("written to a file and synced", alone(written))
        table.add("sent through the loopback", alone(looped))
        table.add("taken by docker-registry", alone(lambda: taken(self.a)), self.a.wipe)
        table.add("taken by our server", alone(lambda: taken(self.own_a)), self.own_a.wipe)
        table.measure()
        for registry in (self.a, self.own_a):
            registry.stop()

    def start_up(self):
        table = Table("start-up: --version, 20 times", max(self.times, 3))

        def twenty(command):
            def go():
                total = [run(command) for _ in range(20)]
                return sum(r[0] for r in total), sum(r[1] for r in total), max(r[2] for r in total)
            return go

        table.add("samebundle --version", twenty([self.options.samebundle, "--version"]))
        table.add("crane version", twenty(["crane", "version"]))
        table.add("skopeo --version", twenty(["skopeo", "--version"]))
        table.measure()

    def engine(self):
        """What a task costs over a bare `runc run` of the same image."""
        source = self.greet("greet")
        busybox = (self.cache / "images/busybox").resolve()
        run(self.same("engine", "build", source, "-t", "greet"))
        run(self.same("engine", "install", "greet", "--allow-unsigned"))
        root = self.work / "runc"
        (root / "rootfs").mkdir(parents=True)
        layer = next(json.loads((busybox / "blobs/sha256" / e["digest"][7:]).read_text())["layers"][0]["digest"][7:]
                     for e in json.loads((busybox / "index.json").read_text())["manifests"])
        run(["tar", "-xzf", str(busybox / "blobs/sha256" / layer), "-C", str(root / "rootfs")])
        run(["runc", "spec"], cwd=root)
        config = json.loads((root / "config.json").read_text())
        config["process"].update(terminal=False, args=["true"], rlimits=[])
        config["process"]["capabilities"] = {}
        (root / "config.json").write_text(json.dumps(config))
        state = self.work / "runc-state"

        def twice():
            # greet has two tasks: two containers here too.
            total = [run(["runc", "--root", str(state), "run", "-b", str(root), f"bench-{n}"]) for n in range(2)]
            return sum(r[0] for r in total), sum(r[1] for r in total), max(r[2] for r in total)

        table = Table("two tasks on busybox: a whole run against two bare `runc run`", max(self.times, 3))
        table.add("samebundle run greet", self.same("engine", "run", "greet", "--env", "embedded"))
        table.add("runc run, twice", twice)
        table.measure()

    def digits(self):
        """The digits pipeline, run again, against kfp.local on the same compiled pipeline."""
        source = self.work / "digits"
        shutil.copytree("bundles/digits", source, ignore=shutil.ignore_patterns("images", "__pycache__"))
        manifest = source / "samebundle.yaml"
        python = (self.cache / "images/python").resolve()
        manifest.write_text(manifest.read_text().replace("layout:images/python", f"layout:{python}"))
        run(self.same("digits-home", "build", source, "-t", "digits"))
        run(self.same("digits-home", "install", "digits", "--allow-unsigned"))
        first = run(self.same("digits-home", "run", "digits", "--env", "embedded"))
        print(f"\ndigits, first run (packages are installed once): {first[0]:.2f} s")
        script = "import sys; sys.path.insert(0, sys.argv[1]); from kfp import local; import pipeline; " \
            "local.init(runner=local.SubprocessRunner(), pipeline_root=sys.argv[2], raise_on_error=True); pipeline.digits()"
        table = Table("digits, second run, against kfp.local (aim: ratio <= 0.125)", 1)
        table.add("samebundle run digits", self.same("digits-home", "run", "digits", "--env", "embedded"))
        table.add("kfp.local", [str(self.cache / "python/bin/python"), "-c", script, str(source), str(self.work / "kfp")])
        results = table.measure()
        ours, theirs = results["samebundle run digits"], results["kfp.local"]
        if ours and theirs and ours[0][0] > theirs[0][0] / 8:
            self.missed.append(f"digits: {ours[0][0]:.1f} s is more than an eighth of {theirs[0][0]:.1f} s")

    def all(self):
        large, layers, size = (1024 * MIB, 12, 15 * MIB) if self.full else (16 * MIB, 12, MIB // 4)
        print(f"samebundle bench, {self.options.size}, load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
        self.start_up()
        self.engine()
        if self.full:
            self.digits()
        model = image(self.work / "model", 1, large)
        many = image(self.work / "many", layers, size)
        self.verify()
        self.memory(model)
        self.delta()
        self.bounds(model)
        self.transfer("1 layer of 1 GiB" if self.full else "1 layer of 16 MiB", model)
        self.transfer(f"{layers} layers, {layers * size // MIB} MiB", many)
        for words, lines in ("not reached", self.missed), ("broken", self.failed):
            if lines:
                print(f"\n{words}:\n" + "\n".join(lines))
        return 1 if self.failed or (self.missed and self.options.strict) else 0


def main():
    parser = argparse.ArgumentParser()
    for name in ("--samebundle", "--work", "--cache"):
        parser.add_argument(name, required=True)
    parser.add_argument("--size", choices=("full", "small"), required=True)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--strict", action="store_true", help="fail where an aim is not reached")
    bench = Bench(parser.parse_args())
    try:
        return bench.all()
    finally:
        for registry in (bench.a, bench.b, bench.own_a, bench.own_b, bench.secure):
            registry.stop()


signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
sys.exit(main())
