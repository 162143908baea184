#include "CInterface.h"

// The file itself is compiled in: what is served cannot differ from it.
#pragma clang diagnostic ignored "-Wc23-extensions"
static const char text[] = {
#embed "../../share/varlink/org.swiftlet.Control.varlink"
};

const char *swiftlet_interface(void) { return text; }
size_t swiftlet_interface_size(void) { return sizeof text; }
