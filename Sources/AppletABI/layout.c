// The header is the product of this target; this file only proves that its numbers fit each other.
#include "applet_abi.h"

_Static_assert(sizeof(struct applet_region) == 32, "four words, on every architecture");
_Static_assert(APPLET_FRAME_FP + 64 <= APPLET_FRAME_WORDS, "32 registers of two words end within the frame");
_Static_assert(APPLET_FRAME_WORDS * 8 <= 4096, "the frame fits a page");
