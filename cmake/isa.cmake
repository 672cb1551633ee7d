# The isa library's generated tables: pictures of isa.def become shifts and widths, chips become text in the library.
file(GLOB tg_chip_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/isa/chips/*.yaml)
list(SORT tg_chip_files)
# A tool that runs during the build: no sanitizers, whatever the target has.
add_executable(tg_isa_gen ${CMAKE_SOURCE_DIR}/isa/gen/gen.c)
target_include_directories(tg_isa_gen PRIVATE ${CMAKE_SOURCE_DIR}/isa)
set(tg_isa_gen_dir ${CMAKE_BINARY_DIR}/isa_gen)
file(MAKE_DIRECTORY ${tg_isa_gen_dir})
add_custom_command(OUTPUT ${tg_isa_gen_dir}/isa_table.inc COMMAND tg_isa_gen table ${tg_isa_gen_dir}/isa_table.inc DEPENDS tg_isa_gen)
add_custom_command(OUTPUT ${tg_isa_gen_dir}/isa_chips.inc ${tg_isa_gen_dir}/isa_chip_names.inc
	COMMAND tg_isa_gen chips ${tg_isa_gen_dir}/isa_chips.inc ${tg_chip_files}
	COMMAND tg_isa_gen names ${tg_isa_gen_dir}/isa_chip_names.inc ${tg_chip_files}
	DEPENDS tg_isa_gen ${tg_chip_files})
target_sources(tg_isa PRIVATE ${tg_isa_gen_dir}/isa_table.inc ${tg_isa_gen_dir}/isa_chips.inc ${tg_isa_gen_dir}/isa_chip_names.inc)
target_include_directories(tg_isa PRIVATE ${tg_isa_gen_dir})
# The reference part of docs/isa.md; the test isa_docs compares, `cmake --build . --target isa_docs_update` rewrites.
add_executable(tg_isa_doc EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/isa/gen/doc.c)
target_link_libraries(tg_isa_doc PRIVATE tg_isa tg_base)
add_custom_target(isa_docs_update COMMAND ${CMAKE_COMMAND} -DTOOL=$<TARGET_FILE:tg_isa_doc> -DMANUAL=${CMAKE_SOURCE_DIR}/docs/isa.md -DUPDATE=ON
	-P ${CMAKE_SOURCE_DIR}/cmake/isa_docs.cmake DEPENDS tg_isa_doc)
