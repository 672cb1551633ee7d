# bench_sim: both engines on executables; `make bench-sim` compiles models and runs it (bench/sim.sh).
add_executable(bench_sim EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/sim.c)
target_compile_options(bench_sim PRIVATE $<$<STREQUAL:${CMAKE_SYSTEM_PROCESSOR},x86_64>:-mavx2> $<$<STREQUAL:${CMAKE_SYSTEM_PROCESSOR},x86_64>:-mfma>)
target_link_libraries(bench_sim PRIVATE tg_sim tg_isa tg_base m)
