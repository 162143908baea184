// The control interface's description, as the file share/varlink/org.swiftlet.Control.varlink has it.
#ifndef SWIFTLET_CINTERFACE_H
#define SWIFTLET_CINTERFACE_H
#include <stddef.h>

/// Its bytes, and their number.
const char *swiftlet_interface(void);
size_t swiftlet_interface_size(void);

#endif
