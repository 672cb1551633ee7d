# bench_sim: both engines on executables; `make bench-sim` compiles models and runs it (bench/sim.sh).
add_executable(bench_sim EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/sim.c ${CMAKE_SOURCE_DIR}/bench/sgemm.c)
set_source_files_properties(${CMAKE_SOURCE_DIR}/bench/sgemm.c PROPERTIES COMPILE_OPTIONS "-O3;-ffp-contract=fast")
target_link_libraries(bench_sim PRIVATE tg_sim tg_isa tg_base m)
