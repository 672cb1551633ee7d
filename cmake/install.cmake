# libtegula (static and shared), the program, header, pkg-config file, completion, chips and documents.
#
# Both libraries are made of all folders in one object whose only global symbols are those of tegula.h, so that a user's names never clash.
set(tg_folders base isa ir passes codegen frontend sim runtime lib)
set(tg_archives "")
foreach(folder ${tg_folders})
	list(APPEND tg_archives $<TARGET_FILE:tg_${folder}>)
	list(APPEND tg_targets tg_${folder})
endforeach()
set(tg_whole ${CMAKE_BINARY_DIR}/tegula_whole.o)
add_custom_command(OUTPUT ${tg_whole}
	COMMAND ${CMAKE_LINKER} -r --whole-archive ${tg_archives} --no-whole-archive -o ${tg_whole}
	COMMAND ${CMAKE_OBJCOPY} --localize-hidden ${tg_whole}
	DEPENDS ${tg_targets} ${tg_archives} COMMENT "Joining the folders into libtegula" VERBATIM)
add_library(tegula_static STATIC ${tg_whole})
add_library(tegula_shared SHARED ${tg_whole})
foreach(lib static shared)
	set_target_properties(tegula_${lib} PROPERTIES OUTPUT_NAME tegula LINKER_LANGUAGE C)
endforeach()
set_source_files_properties(${tg_whole} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
set_target_properties(tegula_shared PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
target_link_libraries(tegula_shared PRIVATE PkgConfig::yaml_0_1 PkgConfig::libcrypto PkgConfig::libelf PkgConfig::libprotobuf_c m)

configure_file(${CMAKE_SOURCE_DIR}/cmake/tegula.pc.in ${CMAKE_BINARY_DIR}/tegula.pc @ONLY)
add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/completion/tegula
	COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/completion
	COMMAND sh -c "$<TARGET_FILE:tegula> --completion > ${CMAKE_BINARY_DIR}/completion/tegula" DEPENDS tegula VERBATIM)
add_custom_target(tegula_completion ALL DEPENDS ${CMAKE_BINARY_DIR}/completion/tegula)

install(TARGETS tegula tegula_static tegula_shared
	RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${CMAKE_SOURCE_DIR}/include/tegula/tegula.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tegula)
install(FILES ${CMAKE_BINARY_DIR}/tegula.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${CMAKE_BINARY_DIR}/completion/tegula DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/isa/chips/ DESTINATION ${CMAKE_INSTALL_DATADIR}/tegula/chips FILES_MATCHING PATTERN "*.yaml")
install(DIRECTORY ${CMAKE_SOURCE_DIR}/docs DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${CMAKE_SOURCE_DIR}/README.md ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
