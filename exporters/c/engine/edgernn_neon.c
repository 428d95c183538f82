/* NEON family: in work, not compiled in yet. */

typedef int edgernn_neon_is_not_used_t;
