/* Mistakes that the default library does not see, because they cost a look at each free: `checked CASE`. In the checked
 * build each ends the process with a line on stderr. */
#include "support.h"
#include <string.h>

int main(int count, char **words) {
    char *p, *q;
    CHECK(count == 2, "usage: %s CASE", words[0]);
    driver_open();
    p = A(malloc)(64);
    q = A(malloc)(64);
    A(free)(q);
    if (strcmp(words[1], "twice") == 0) A(free)(q);
    if (strcmp(words[1], "inside") == 0) A(free)(p + 16);
    puts("fine");
    return 0;
}
