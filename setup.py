"""Builds what pyproject.toml cannot describe: two extension modules from
cysrc/, and from csrc/ the program fuload-worker and the library that worker
programs link against. All land in the package."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

INCLUDES = ["csrc", "fuload_exec/include"]
# The last one counts: what the environment says.
C_FLAGS = ["-std=gnu11", "-O2", "-g", "-D_GNU_SOURCE", "-Wall", "-Wextra", *shlex.split(os.environ.get("CFLAGS", ""))]
HEADERS = sorted(map(str, Path("csrc").rglob("*.h"))) + ["fuload_exec/include/fuload.h"]
WORKER_SOURCES = sorted(str(p) for p in Path("csrc/worker").glob("*.c") if p.name != "main.c")
CYTHON_SOURCES = sorted(str(p) for p in Path("cysrc").glob("*") if p.suffix in {".pxi", ".pxd"})


def stop(reason):
    raise SystemExit(f"fuload-exec: {reason}")


def check_platform():
    if not sys.platform.startswith("linux"):
        stop(f"it runs on Linux only, this is {sys.platform}.")
    machine = os.uname().machine
    if machine not in {"x86_64", "aarch64"}:
        stop(f"it runs on x86-64 and aarch64 only, this is {machine}.")


class Build(build_ext):
    """build_ext, and with the same compiler the worker program and library."""

    def build_extensions(self):
        self.check_toolchain()
        self.ffi = self.find_ffi()
        for extension in self.extensions:
            extension.extra_compile_args += C_FLAGS
        host = next(e for e in self.extensions if e.name == "fuload_exec._host")
        host.extra_link_args += self.ffi
        self.build_worker()
        super().build_extensions()

    def try_build(self, source, link=None):
        """Does this C source compile (and link, given libraries)?"""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "try.c")
            path.write_text(source)
            # What the compiler says of a missing header is replaced by our sentence.
            saved, quiet = os.dup(2), os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(quiet, 2)
                objects = self.compiler.compile(
                    [str(path)], output_dir=directory, include_dirs=self.include_dirs, extra_preargs=["-fPIC"]
                )
                if link is not None:
                    self.compiler.link_shared_object(objects, str(Path(directory, "try.so")), extra_postargs=link)
            except (CompileError, LinkError):
                return False
            finally:
                os.dup2(saved, 2)
                os.close(saved)
                os.close(quiet)
        return True

    def check_toolchain(self):
        compiler = self.compiler.compiler_so[0]
        if not shutil.which(compiler):
            stop(f"there is no C compiler ({compiler}): on Debian, 'apt-get install gcc libc6-dev' brings one.")
        if not self.try_build("#include <stdio.h>\n#include <stdatomic.h>\n"):
            stop("the C compiler finds no stdio.h: on Debian, 'apt-get install libc6-dev' brings it.")
        if not self.try_build("#include <Python.h>\n"):
            stop("the header Python.h is missing: on Debian, 'apt-get install python3-dev' brings it.")
        if not self.try_build("#include <ffi.h>\n"):
            stop("the header ffi.h is missing: on Debian, 'apt-get install libffi-dev' brings it.")

    def find_ffi(self):
        """libffi linked in where there is an archive fit for it, so that an
        installed wheel needs no libffi."""
        call = "#include <ffi.h>\nint f(ffi_cif *c) { return ffi_prep_cif(c, FFI_DEFAULT_ABI, 0, &ffi_type_void, 0); }\n"
        for name in ("ffi_pic", "ffi"):
            link = ["-Wl,-Bstatic", f"-l{name}", "-Wl,-Bdynamic"]
            if self.try_build(call, link):
                return link
        return ["-lffi"]

    def build_worker(self):
        package = Path(self.build_lib, "fuload_exec")
        (package / "bin").mkdir(parents=True, exist_ok=True)
        (package / "lib").mkdir(parents=True, exist_ok=True)
        objects = self.compiler.compile(
            [*WORKER_SOURCES, "csrc/worker/main.c"],
            output_dir=self.build_temp,
            include_dirs=INCLUDES,
            extra_postargs=[*C_FLAGS, "-fPIC"],
            depends=HEADERS,
        )
        main = [o for o in objects if Path(o).name == "main.o"]
        parts = [o for o in objects if o not in main]
        archive = package / "lib" / "libfuload_worker.a"
        archive.unlink(missing_ok=True)
        self.compiler.create_static_lib(parts, "fuload_worker", output_dir=str(package / "lib"))
        self.add_ffi(archive)
        self.compiler.link_executable(
            main + parts,
            "fuload-worker",
            output_dir=str(package / "bin"),
            extra_postargs=[*self.ffi, "-ldl", "-pthread", "-Wl,-z,now", *shlex.split(os.environ.get("LDFLAGS", ""))],
        )

    def add_ffi(self, archive):
        """libffi's objects into the library for worker programs, so that those
        who link it need no libffi either. What remains to be named is written
        beside it."""
        remaining = "-lffi"
        if len(self.ffi) > 1:
            name = f"lib{self.ffi[1].removeprefix('-l')}.a"
            command = [self.compiler.compiler_so[0], f"-print-file-name={name}"]
            found = subprocess.run(command, capture_output=True, text=True).stdout.strip()
            script = f"open {archive}\naddlib {found}\nsave\nend\n"
            if os.path.isabs(found) and not subprocess.run(["ar", "-M"], input=script, text=True).returncode:
                remaining = ""
        (archive.parent / "libraries").write_text(f"{remaining} -ldl -pthread".strip())

    def copy_extensions_to_source(self):
        """For an editable install: the worker goes where the extensions go."""
        super().copy_extensions_to_source()
        for part in ("bin", "lib"):
            shutil.copytree(Path(self.build_lib, "fuload_exec", part), Path("fuload_exec", part), dirs_exist_ok=True)


check_platform()
setup(
    ext_modules=[
        Extension(
            "fuload_exec._core",
            ["cysrc/_core.pyx"],
            include_dirs=INCLUDES,
            depends=HEADERS + CYTHON_SOURCES,
            extra_compile_args=[],
        ),
        Extension(
            "fuload_exec._host",
            ["cysrc/_host.pyx", *WORKER_SOURCES],
            include_dirs=INCLUDES,
            depends=HEADERS + CYTHON_SOURCES,
            extra_compile_args=[],
            extra_link_args=["-ldl", "-pthread"],
        ),
    ],
    cmdclass={"build_ext": Build},
)
