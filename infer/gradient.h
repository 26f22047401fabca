/* Runs an image and then backwards: the slope of a number of yours (a loss over
 * the outputs) with respect to the picture that went in, and to every tensor between.
 *
 *   write gradient_input -> gradient_forward -> read gradient_output,
 *   write gradient_seed  -> gradient_backward -> read gradient_slope
 *
 * For images of plan_options.keep: every step's output stays where it is, and a
 * second arena of the same plan holds the slopes, each tensor's at its own
 * offset. Convolutions run backwards as convolutions of the slopes with their filters
 * turned around, by the same kernels (Winograd, too). Their weights are copies,
 * so that channels can be silenced and given back.
 * One thread; the image is borrowed and stays as it is. */
#ifndef INFER_GRADIENT_H
#define INFER_GRADIENT_H

#include "infer/image.h"

struct gradient;

/* Room for `items` at once. Refuses images of another plan, of several inputs or
 * outputs, and operators that no slope goes through. 0, or -1 with `e` set. */
int gradient_new(const struct image *img, uint32_t items, struct gradient **out, struct err *e);
void gradient_free(struct gradient *g); /* NULL is fine */

/* The input of item `i`: float32, as the network wants it; kept until written again. */
float *gradient_input(struct gradient *g, uint32_t i);
/* Runs items [0, n) from step `from` on: 0, or a later one where nothing before has changed. */
void gradient_forward(struct gradient *g, uint32_t n, uint32_t from);
const float *gradient_output(const struct gradient *g, uint32_t i);

/* d loss / d output of item `i`: the caller writes all of it, after gradient_forward. */
float *gradient_seed(struct gradient *g, uint32_t i);
void gradient_backward(struct gradient *g, uint32_t n);
/* d loss / d input of item `i`. */
const float *gradient_slope(const struct gradient *g, uint32_t i);

/* Where the network ends in Softmax over its classes: takes what goes in there for the output, since the
 * slopes of probabilities that are all but 1 vanish. */
void gradient_before_softmax(struct gradient *g);

int64_t gradient_input_floats(const struct gradient *g);
int64_t gradient_output_floats(const struct gradient *g);

/* --- channels of convolutions ----------------------------------------------------------- */

/* Filters of step `step` that can be silenced: 0 where it is no convolution of constant filters. */
uint32_t gradient_channels(const struct gradient *g, uint32_t step);
/* Filter and bias become zero, or what they were. From that step on everything has to run again. */
void gradient_silence(struct gradient *g, uint32_t step, uint32_t channel, bool silent);
bool gradient_is_silent(const struct gradient *g, uint32_t step, uint32_t channel);
/* Per channel of the convolution `step`, for item `i` as it ran last (and backwards):
 * the mean of what it adds, positive part (what a residual brings in is not counted); and
 * how much the loss would change, to first order, if it were silent. Either may be NULL. */
void gradient_activity(const struct gradient *g, uint32_t step, uint32_t i, float *activity, float *effect);

#endif
