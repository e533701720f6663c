/* Stands in for OBS: gives the filter ten milliseconds at a time, as fast as they are spoken, and writes what it gives
 * back: per packet its time stamp in frames and its length, then the samples of the first channel.
 *
 *     host SECONDS MAX_SECONDS SETTINGS < mono.f32 > packets
 *
 * What it reads it says again and again, until SECONDS after the first sound came back, or for MAX_SECONDS.
 */
#include <obs-module.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <util/platform.h>

#define RATE 48000
#define FRAMES 480

static const struct obs_source_info *filter;

void obs_register_source_s(const struct obs_source_info *info, size_t size)
{
    UNUSED_PARAMETER(size);
    filter = info;
}

audio_t *obs_get_audio(void) { return NULL; }

uint32_t audio_output_get_sample_rate(const audio_t *audio)
{
    UNUSED_PARAMETER(audio);
    return RATE;
}

size_t audio_output_get_channels(const audio_t *audio)
{
    UNUSED_PARAMETER(audio);
    return 2;
}

bool obs_module_load(void);

static void log_to_stderr(int level, const char *format, va_list arguments, void *unused)
{
    UNUSED_PARAMETER(level);
    UNUSED_PARAMETER(unused);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

static float voice[60 * RATE];
static bool has_sound;

static void read_voice(size_t count, size_t at, float *samples)
{
    for (size_t i = 0; i < FRAMES; i++)
        samples[i] = voice[(at + i) % count];
}

static bool write_packet(const struct obs_audio_data *packet)
{
    uint32_t head[2] = {(uint32_t)util_mul_div64(packet->timestamp, RATE, 1000000000), packet->frames};
    fwrite(head, sizeof head, 1, stdout);
    fwrite(packet->data[0], sizeof(float), packet->frames, stdout);
    for (uint32_t i = 0; i < packet->frames; i++)
        has_sound = has_sound || ((const float *)packet->data[0])[i] != 0;
    return memcmp(packet->data[0], packet->data[1], packet->frames * sizeof(float)) == 0;
}

int main(int num_arguments, char **arguments)
{
    float left[FRAMES], right[FRAMES];
    if (num_arguments != 4)
        return 2;
    size_t count = fread(voice, sizeof(float), sizeof voice / sizeof *voice, stdin);
    size_t after = (size_t)atoi(arguments[1]) * RATE, end = (size_t)atoi(arguments[2]) * RATE;
    base_set_log_handler(log_to_stderr, NULL);
    obs_module_load();
    obs_data_t *settings = obs_data_create_from_json(arguments[3]);
    filter->get_defaults(settings);
    void *data = filter->create(settings, NULL);
    bool is_same = true;
    uint64_t started_ns = os_gettime_ns();
    for (size_t at = 0; at < end; at += FRAMES) {
        read_voice(count, at, left);
        memcpy(right, left, sizeof right);
        struct obs_audio_data audio = {.frames = FRAMES, .timestamp = util_mul_div64(at, 1000000000, RATE)};
        audio.data[0] = (uint8_t *)left;
        audio.data[1] = (uint8_t *)right;
        struct obs_audio_data *given = filter->filter_audio(data, &audio);
        if (given)
            is_same = write_packet(given) && is_same;
        if (has_sound && at + after < end)
            end = at + after;
        os_sleepto_ns(started_ns + util_mul_div64(at + FRAMES, 1000000000, RATE));
    }
    filter->destroy(data);
    obs_data_release(settings);
    return is_same ? 0 : 1;
}
