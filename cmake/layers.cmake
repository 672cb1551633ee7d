# The folders and the arrows between them. An include against an arrow does not compile.
tg_library(base)
tg_library(isa      USES base         LIBS PkgConfig::yaml_0_1 PkgConfig::libelf)
include(cmake/isa.cmake)
tg_library(ir       USES base)
tg_library(sim      USES isa)
include(cmake/sim.cmake)
