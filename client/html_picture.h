/* A picture inside a page: pixels as a PNG in a data: address. No library, since the daemon, which shows
 * pages, decodes and links none. Pure. */
#ifndef CLIENT_HTML_PICTURE_H
#define CLIENT_HTML_PICTURE_H

#include <stdint.h>
#include <stdio.h>

/* The value of an <img>'s src: rgba is [height,width,4]. Writes nothing where it is out of memory. */
void html_picture_put(FILE *to, const uint8_t *rgba, uint32_t width, uint32_t height);

#endif
