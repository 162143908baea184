#ifndef SWIFTLET_CJANSSON_H
#define SWIFTLET_CJANSSON_H
#include <jansson.h>

// Macros and inline functions in jansson.
static inline int swiftlet_json_type(const json_t *value) { return (int)json_typeof(value); }
static inline void swiftlet_json_release(json_t *value) { json_decref(value); }
static inline int swiftlet_json_is_overflow(const json_error_t *error) {
  return json_error_code(error) == json_error_numeric_overflow;
}
static inline const char *swiftlet_json_error_text(const json_error_t *error) { return error->text; }

#endif
