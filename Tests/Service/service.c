// usage: service PATH [leave | silent]
//
// Serves JSON-RPC 1.0 at a Unix socket, a message in each line, to one client at a time: the result of a call is its
// method and parameters, as a string. With `leave` it closes the connection instead of answering; with `silent`
// it never answers.
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// The text after a member's name, up to one of these characters.
static int member(const char *line, const char *name, const char *ends, char *to, size_t size) {
  const char *at = strstr(line, name);
  if (!at) return 0;
  at += strlen(name);
  size_t length = strcspn(at, ends);
  if (length >= size) return 0;
  memcpy(to, at, length);
  to[length] = 0;
  return 1;
}

int main(int count, char **words) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (count < 2 || strlen(words[1]) >= sizeof address.sun_path) return 122;
  strcpy(address.sun_path, words[1]);
  unlink(words[1]);
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 8) < 0) {
    perror("service");
    return 123;
  }
  for (int client; (client = accept(listener, NULL, NULL)) >= 0; close(client)) {
    FILE *in = fdopen(dup(client), "r"), *out = fdopen(dup(client), "w");
    char line[4096], method[100], parameters[1000], number[30];
    while (fgets(line, sizeof line, in) && (count < 3 || strcmp(words[2], "silent") == 0)) {
      if (count > 2) continue;
      if (!member(line, "\"method\":\"", "\"", method, sizeof method) ||
          !member(line, "\"params\":[", "]", parameters, sizeof parameters) ||
          !member(line, "\"id\":", ",}", number, sizeof number))
        break;
      fprintf(out, "{\"id\":%s,\"result\":\"%s of %s\",\"error\":null}\n", number, method, parameters);
      fflush(out);
    }
    fclose(in);
    fclose(out);
  }
  return 0;
}
