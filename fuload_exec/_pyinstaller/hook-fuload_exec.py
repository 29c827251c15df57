"""Run by PyInstaller where it meets the package."""

from fuload_exec._pyinstaller import data_files, hidden_imports, programs

hiddenimports = hidden_imports()
binaries = programs()
datas = data_files()
