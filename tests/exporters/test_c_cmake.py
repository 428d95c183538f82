"""The exported folder in CMake, ESP-IDF and Zephyr, as it lies there.

Of ESP-IDF and Zephyr, the commands that their CMakeLists call are played by stand-ins that insist
on what the real ones insist on.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgernn.runtime.program import Program
from edgernn.version import __version__
from tests.exporters.c_host import WARNINGS, execute, require
from tests.exporters.c_programs import ramp


def cmake(source: Path, build: Path, *options: str) -> str:
    require("cmake", "ninja")
    text = execute(["cmake", "-S", source, "-B", build, "-G", "Ninja", "-Wdev", *options])
    assert "Warning" not in text, text
    return text + execute(["cmake", "--build", build, "-v"])


@pytest.mark.parametrize("name", ["kws", "wake", "long_output"])
def test_cmake_builds_the_example_and_it_prints_the_models_outputs(
    c_models: dict[str, Program], c_folders: dict[str, Path], name: str, tmp_path: Path
) -> None:
    log = cmake(c_folders[name], tmp_path, "-DCMAKE_C_FLAGS=-Werror")
    assert "-std=c99" in log
    assert all(flag in log for flag in WARNINGS)
    assert "-O3" in log
    printed = execute([tmp_path / f"{name}_example"]).splitlines()
    expected = ramp(c_models[name], 0)
    assert printed == [f"step {t}:{line}" for t, line in enumerate(expected)]


def test_the_switch_forces_plain_c(c_folders: dict[str, Path], tmp_path: Path) -> None:
    for value, count in (("ON", 0), ("OFF", 1)):
        log = cmake(c_folders["kws"], tmp_path / value, f"-DEDGERNN_PORTABLE={value}")
        compiled = [line for line in log.splitlines() if " -c " in line and "example" not in line]
        assert len(compiled) >= 3
        assert len({"-DEDGERNN_PORTABLE" in line for line in compiled} - {not count}) == 0


def test_two_models_are_libraries_of_one_program_and_share_the_engine(
    c_folders: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.15)\nproject(app LANGUAGES CXX)\n"
        f'add_subdirectory("{c_folders["kws"]}" kws)\n'
        f'add_subdirectory("{c_folders["wake"]}" wake)\n'
        "add_executable(app app.cpp)\ntarget_link_libraries(app PRIVATE kws wake)\n"
        "if(TARGET kws_example OR TARGET wake_example)\n"
        "  message(FATAL_ERROR examples)\nendif()\n"
    )
    (tmp_path / "app.cpp").write_text(
        '#include "kws.h"\n#include "wake.h"\n#include <cstdio>\n'
        "int main()\n{\n    static kws_state_t kws;\n    static wake_state_t wake;\n"
        "    kws_reset(&kws);\n    wake_reset(&wake);\n"
        "    std::puts(edgernn_kernels());\n"
        "    return kws_check(&kws) != EDGERNN_OK || wake_check(&wake) != EDGERNN_OK;\n}\n"
    )
    log = cmake(tmp_path, tmp_path / "build", "-DEDGERNN_PORTABLE=ON")
    assert len(re.findall(r" -c \S*edgernn\.c", log)) == 1
    assert execute([tmp_path / "build" / "app"]) == "portable\n"


# -- ESP-IDF --------------------------------------------------------------------------------------

EARLY = """
# How ESP-IDF first reads a component: in a script, for its requirements alone.
macro(idf_component_register)
  cmake_parse_arguments(_ "" "" "SRCS;INCLUDE_DIRS;REQUIRES;PRIV_REQUIRES" "${ARGN}")
  if(__UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "not understood: ${__UNPARSED_ARGUMENTS}")
  endif()
  set(registered 1)
  return()
endmacro()
function(requirements folder)
  set(CMAKE_BUILD_EARLY_EXPANSION 1)
  include("${folder}/CMakeLists.txt")
  set(registered ${registered} PARENT_SCOPE)
endfunction()
requirements("${FOLDER}")
if(NOT registered)
  message(FATAL_ERROR "it does not register")
endif()
"""
ESP = """
cmake_minimum_required(VERSION 3.16)
project(app LANGUAGES C CXX ASM)
set(ESP_PLATFORM 1)
function(idf_component_register)
  cmake_parse_arguments(_ "" "" "SRCS;INCLUDE_DIRS;REQUIRES;PRIV_REQUIRES" "${ARGN}")
  if(__UNPARSED_ARGUMENTS OR NOT __SRCS OR NOT __INCLUDE_DIRS)
    message(FATAL_ERROR "registered without sources or folders: ${ARGN}")
  endif()
  get_filename_component(component "${CMAKE_CURRENT_SOURCE_DIR}" NAME)
  add_library(__idf_${component} STATIC ${__SRCS})
  foreach(folder ${__INCLUDE_DIRS})
    get_filename_component(absolute "${folder}" ABSOLUTE)
    target_include_directories(__idf_${component} PUBLIC "${absolute}")
  endforeach()
  target_compile_options(__idf_${component} PRIVATE -std=gnu17 -Wall -Wextra -Werror -Og)
  target_link_libraries(app PRIVATE __idf_${component})
endfunction()
add_executable(app main.c)
add_subdirectory("@kws@" esp-idf/kws)
add_subdirectory("@wake@" esp-idf/wake)
"""


def test_esp_idf_reads_the_component_in_a_script(
    c_folders: dict[str, Path], tmp_path: Path
) -> None:
    require("cmake")
    (tmp_path / "early.cmake").write_text(EARLY)
    for folder in c_folders.values():
        definitions = ("-DESP_PLATFORM=1", f"-DFOLDER={folder}")
        execute(["cmake", *definitions, "-P", tmp_path / "early.cmake"], tmp_path)


def application(folder: Path) -> None:
    """An application of both models, in C."""
    (folder / "main.c").write_text(
        '#include "kws.h"\n#include "wake.h"\nint main(void)\n{\n    kws_state_t kws;\n'
        "    wake_state_t wake;\n    int16_t x[KWS_INPUT_SIZE] = {0};\n"
        "    int16_t y[KWS_OUTPUT_SIZE];\n    kws_reset(&kws);\n    wake_reset(&wake);\n"
        "    return (int)kws_step(&kws, x, y) + (int)wake_check(&wake);\n}\n"
    )


def test_esp_idf_builds_two_models_as_components(
    c_folders: dict[str, Path], tmp_path: Path
) -> None:
    application(tmp_path)
    text = ESP.replace("@kws@", str(c_folders["kws"])).replace("@wake@", str(c_folders["wake"]))
    (tmp_path / "CMakeLists.txt").write_text(text)
    log = cmake(tmp_path, tmp_path / "build")
    assert "example_main" not in log
    execute([tmp_path / "build" / "app"])


def test_the_manifest_of_esp_idf_has_known_fields_alone(c_folders: dict[str, Path]) -> None:
    """idf_component.yml: all of it is optional; a version is to be of three numbers."""
    for name, folder in c_folders.items():
        manifest = yaml((folder / "idf_component.yml").read_text())
        assert set(manifest) == {"version", "description", "dependencies"}
        assert manifest["version"] == __version__
        assert re.fullmatch(r"\d+\.\d+\.\d+", manifest["version"])
        assert manifest["description"].startswith(f"{name}, ")
        assert manifest["dependencies"] == {"idf": ">=4.4"}


# -- Zephyr ---------------------------------------------------------------------------------------

ZEPHYR = """
cmake_minimum_required(VERSION 3.20)
project(app LANGUAGES C CXX ASM)
set(ZEPHYR_BASE "@base@" CACHE PATH "where Zephyr would be")
add_library(zephyr_interface INTERFACE)
add_executable(app main.c)
target_link_libraries(app PRIVATE zephyr_interface)
macro(zephyr_library_named name)
  set(ZEPHYR_CURRENT_LIBRARY ${name})
  add_library(${name} STATIC "")
  target_link_libraries(${name} PUBLIC zephyr_interface)
  target_compile_options(${name} PRIVATE -std=c11 -Wall -Wextra -Werror -Os)
  # Zephyr links all of every library: what is in two of them is an error.
  target_link_libraries(app PRIVATE -Wl,--whole-archive ${name} -Wl,--no-whole-archive)
endmacro()
function(zephyr_library_sources)
  target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()
function(zephyr_library_compile_definitions)
  target_compile_definitions(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()
function(zephyr_include_directories)
  foreach(folder ${ARGN})
    if(NOT IS_ABSOLUTE "${folder}")
      message(FATAL_ERROR "${folder}: older releases of Zephyr want absolute folders")
    endif()
    target_include_directories(zephyr_interface INTERFACE "${folder}")
  endforeach()
endfunction()
foreach(module "@kws@" "@wake@")
  get_filename_component(name "${module}" NAME)
  add_subdirectory("${module}" modules/${name})
endforeach()
"""


@pytest.mark.parametrize("portable", ["ON", "OFF"])
def test_zephyr_builds_two_models_as_modules(
    c_folders: dict[str, Path], tmp_path: Path, portable: str
) -> None:
    application(tmp_path)
    text = ZEPHYR.replace("@base@", str(tmp_path))
    text = text.replace("@kws@", str(c_folders["kws"])).replace("@wake@", str(c_folders["wake"]))
    (tmp_path / "CMakeLists.txt").write_text(text)
    log = cmake(tmp_path, tmp_path / "build", f"-DEDGERNN_PORTABLE={portable}")
    assert len(re.findall(r" -c \S*edgernn\.c", log)) == 1
    assert ("-DEDGERNN_PORTABLE" in log.split("Build files")[1]) == (portable == "ON")
    assert "example_main" not in log
    execute([tmp_path / "build" / "app"])


def test_the_module_of_zephyr_names_a_folder_that_has_what_zephyr_wants(
    c_folders: dict[str, Path],
) -> None:
    """zephyr/module.yml: name, and build.cmake, a folder with a CMakeLists.txt."""
    for name, folder in c_folders.items():
        module = yaml((folder / "zephyr" / "module.yml").read_text())
        assert module == {"name": name, "build": {"cmake": "."}}
        assert (folder / module["build"]["cmake"] / "CMakeLists.txt").is_file()
        # Without a kconfig field Zephyr takes this file, if there is one.
        assert not (folder / "zephyr" / "Kconfig").exists()


def yaml(text: str) -> dict[str, object | dict[str, str]] | dict[str, dict[str, str]]:
    """The little of YAML that is used here: comments, mappings, and one more inside; quotes."""
    result: dict[str, object] = {}
    inner: dict[str, object] = result
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        found = re.fullmatch(r'( {2})?([a-z]+):(?: (?:"([^"\\]*)"|([a-z.]+)))?', line)
        assert found is not None, line
        indent, key, quoted, plain = found.groups()
        where = inner if indent else result
        assert key not in where
        if quoted is None and plain is None:
            assert not indent
            inner = {}
            result[key] = inner
        else:
            where[key] = quoted if quoted is not None else plain
    return result
