# The folders and the arrows between them. An include against an arrow does not compile.
tg_library(base     LIBS PkgConfig::libcrypto)
tg_library(isa      USES base         LIBS PkgConfig::yaml_0_1 PkgConfig::libelf)
include(cmake/isa.cmake)
tg_library(ir       USES base)
tg_library(passes   USES ir isa)
tg_library(codegen  USES passes isa)
set(onnx_pb ${CMAKE_BINARY_DIR}/generated/onnx.pb-c)
add_custom_command(OUTPUT ${onnx_pb}.c ${onnx_pb}.h
	COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/generated
	COMMAND protoc-c --c_out=${CMAKE_BINARY_DIR}/generated --proto_path=${CMAKE_SOURCE_DIR}/frontend ${CMAKE_SOURCE_DIR}/frontend/onnx.proto
	DEPENDS ${CMAKE_SOURCE_DIR}/frontend/onnx.proto VERBATIM)
tg_library(frontend USES ir LIBS PkgConfig::libprotobuf_c)
target_sources(tg_frontend PRIVATE ${onnx_pb}.c ${onnx_pb}.h)
target_include_directories(tg_frontend SYSTEM PRIVATE ${CMAKE_BINARY_DIR}/generated)
tg_library(sim      USES isa)
include(cmake/sim.cmake)
tg_library(runtime  USES sim ir)
tg_library(lib      USES frontend codegen passes runtime)
target_include_directories(tg_lib PUBLIC ${CMAKE_SOURCE_DIR}/include)
