/* An audio filter for OBS Studio: the source's sound goes through an anivoice server.
 *
 * The filter keeps the time stamps: what OBS gets back carries the times of what it gave, so sound and picture stay
 * together without a sync offset (OBS buffers up to about a second). Sound that does not come back is silence, never the
 * speaker's own voice.
 */
#define ANIVOICE_CLIENT_IMPLEMENTATION
#include "../c/anivoice_client.h"

#include <obs-module.h>
#include <util/platform.h>
#include <util/threading.h>

OBS_DECLARE_MODULE()

#define SAMPLE_BYTES sizeof(float)
#define RECEIVE_MS 5
#define RETRY_MS 1000
#define RETRY_STEP_MS 50
#define OPEN_MS 60000
#define MAX_WAITING_SECONDS 2 /* of sound that the server does not take: then another stream is begun */
#define MAX_GAP_NS 20000000   /* between packets that go out as one */

struct queue {
    char *bytes;
    size_t size, capacity;
};

struct packet {
    uint64_t timestamp;
    uint32_t frames;
};

struct filter {
    pthread_t worker;
    pthread_mutex_t mutex; /* guards what follows, up to `out` */
    struct queue to_send, received, packets;
    char *host, *key, *preset, *parameters;
    int port;
    bool must_connect, must_send_parameters, is_streaming, has_new_stream, must_end;
    /* the audio thread's alone */
    float *out;
    size_t out_frames;
    struct obs_audio_data result;
};

/* ---- queues ---- */

static void append(struct queue *queue, const void *bytes, size_t size)
{
    if (queue->size + size > queue->capacity) {
        queue->capacity = 2 * (queue->size + size);
        queue->bytes = brealloc(queue->bytes, queue->capacity);
    }
    if (bytes)
        memcpy(queue->bytes + queue->size, bytes, size);
    else
        memset(queue->bytes + queue->size, 0, size);
    queue->size += size;
}

static void take(struct queue *queue, void *bytes, size_t size)
{
    if (bytes)
        memcpy(bytes, queue->bytes, size);
    queue->size -= size;
    memmove(queue->bytes, queue->bytes + size, queue->size);
}

/* ---- the audio thread ---- */

static bool follows(const struct packet *packet, const struct packet *before, uint32_t rate)
{
    uint64_t end = before->timestamp + util_mul_div64(before->frames, 1000000000, rate);
    return packet->timestamp + MAX_GAP_NS > end && packet->timestamp < end + MAX_GAP_NS;
}

/* How many frames of waiting packets go out now as one: those for which sound is there, without a server all. */
static size_t frames_due(struct filter *filter, uint32_t rate)
{
    size_t available = filter->received.size / SAMPLE_BYTES, due = 0;
    const struct packet *packets = (const struct packet *)filter->packets.bytes;
    size_t count = filter->packets.size / sizeof *packets;
    for (size_t i = 0; i < count && (!filter->is_streaming || due + packets[i].frames <= available); i++) {
        if (i > 0 && !follows(&packets[i], &packets[i - 1], rate))
            break;
        due += packets[i].frames;
    }
    return due;
}

/* Packets of an earlier stream get silence. */
static void give_up_what_waits(struct filter *filter)
{
    size_t waiting = 0;
    for (size_t at = 0; at < filter->packets.size; at += sizeof(struct packet))
        waiting += ((struct packet *)(filter->packets.bytes + at))->frames;
    filter->to_send.size = 0;
    filter->received.size = 0;
    append(&filter->received, NULL, waiting * SAMPLE_BYTES);
}

static void hear(struct filter *filter, const struct obs_audio_data *audio, size_t channels)
{
    struct packet packet = {audio->timestamp, audio->frames};
    append(&filter->packets, &packet, sizeof packet);
    if (!filter->is_streaming)
        return;
    size_t start = filter->to_send.size;
    append(&filter->to_send, NULL, audio->frames * SAMPLE_BYTES);
    float *mono = (float *)(filter->to_send.bytes + start);
    for (size_t channel = 0; channel < channels; channel++) {
        const float *samples = (const float *)audio->data[channel];
        for (uint32_t i = 0; samples && i < audio->frames; i++)
            mono[i] += samples[i] / (float)channels;
    }
}

/* The waiting packets that make up `frames`, with their sound, as one. */
static struct obs_audio_data *give(struct filter *filter, size_t frames, size_t channels)
{
    struct packet *first = (struct packet *)filter->packets.bytes;
    filter->result.timestamp = first->timestamp;
    filter->result.frames = (uint32_t)frames;
    if (frames > filter->out_frames) {
        filter->out_frames = frames;
        filter->out = brealloc(filter->out, frames * SAMPLE_BYTES);
    }
    size_t known = frames * SAMPLE_BYTES <= filter->received.size ? frames : filter->received.size / SAMPLE_BYTES;
    take(&filter->received, filter->out, known * SAMPLE_BYTES);
    memset(filter->out + known, 0, (frames - known) * SAMPLE_BYTES);
    while (frames > 0) {
        frames -= first->frames;
        take(&filter->packets, NULL, sizeof *first);
    }
    for (size_t channel = 0; channel < MAX_AV_PLANES; channel++)
        filter->result.data[channel] = channel < channels ? (uint8_t *)filter->out : NULL;
    return &filter->result;
}

static struct obs_audio_data *filter_audio(void *data, struct obs_audio_data *audio)
{
    struct filter *filter = data;
    size_t channels = audio_output_get_channels(obs_get_audio());
    uint32_t rate = audio_output_get_sample_rate(obs_get_audio());
    pthread_mutex_lock(&filter->mutex);
    if (filter->has_new_stream)
        give_up_what_waits(filter);
    filter->has_new_stream = false;
    hear(filter, audio, channels);
    if (filter->to_send.size > MAX_WAITING_SECONDS * SAMPLE_BYTES * rate)
        filter->must_connect = true;
    size_t due = frames_due(filter, rate);
    struct obs_audio_data *result = due > 0 ? give(filter, due, channels) : NULL;
    pthread_mutex_unlock(&filter->mutex);
    return result;
}

/* ---- the thread that talks with the server ---- */

static void set_streaming(struct filter *filter, bool is_streaming)
{
    pthread_mutex_lock(&filter->mutex);
    filter->is_streaming = is_streaming;
    filter->has_new_stream = true;
    filter->to_send.size = 0;
    filter->received.size = 0;
    pthread_mutex_unlock(&filter->mutex);
}

static bool must_leave(struct filter *filter)
{
    pthread_mutex_lock(&filter->mutex);
    bool leave = filter->must_end || filter->must_connect;
    pthread_mutex_unlock(&filter->mutex);
    return leave;
}

static anivoice_client *open_client(struct filter *filter)
{
    char why[256];
    pthread_mutex_lock(&filter->mutex);
    filter->must_connect = filter->must_send_parameters = false;
    char *host = bstrdup(filter->host), *key = bstrdup(filter->key), *parameters = bstrdup(filter->parameters);
    anivoice_options options = {host, filter->port, *key ? key : NULL, parameters, OPEN_MS};
    pthread_mutex_unlock(&filter->mutex);
    anivoice_client *client = anivoice_open(&options, why, sizeof why);
    if (!client)
        blog(LOG_WARNING, "[anivoice] %s", why);
    bfree(host);
    bfree(key);
    bfree(parameters);
    return client;
}

/* What the source has said since, and changed parameters. False when the stream is over. */
static bool send_all(struct filter *filter, anivoice_client *client, struct queue *audio)
{
    char *text = NULL;
    pthread_mutex_lock(&filter->mutex);
    if (filter->must_send_parameters)
        text = bstrdup(filter->parameters);
    filter->must_send_parameters = false;
    audio->size = 0;
    append(audio, filter->to_send.bytes, filter->to_send.size);
    filter->to_send.size = 0;
    pthread_mutex_unlock(&filter->mutex);
    bool is_open = !text || anivoice_send_text(client, text) == 1;
    bfree(text);
    return is_open && (audio->size == 0 || anivoice_send_audio(client, audio->bytes, audio->size) == 1);
}

static void receive_audio(struct filter *filter, const char *bytes, size_t size)
{
    pthread_mutex_lock(&filter->mutex);
    append(&filter->received, bytes, size);
    pthread_mutex_unlock(&filter->mutex);
}

/* Dropped blocks are missing in what comes: silence keeps what follows at its time. */
static void note_event(struct filter *filter, const char *json, double *block_ms, double *dropped)
{
    double now;
    if (anivoice_is_event(json, "ready")) {
        anivoice_number(json, "block_ms", block_ms);
    } else if (anivoice_is_event(json, "overrun") && anivoice_number(json, "dropped_blocks", &now)) {
        double frames = (now - *dropped) * *block_ms * audio_output_get_sample_rate(obs_get_audio()) / 1000;
        receive_audio(filter, NULL, (size_t)(frames + 0.5) * SAMPLE_BYTES);
        *dropped = now;
    } else if (!anivoice_is_event(json, "stats")) {
        blog(LOG_INFO, "[anivoice] %s", json);
    }
}

/* One stream, until it ends, the filter does, or other settings want another stream. */
static void run_stream(struct filter *filter, anivoice_client *client)
{
    struct queue audio = {0};
    anivoice_message message;
    double block_ms = 0, dropped = 0;
    int got = 0;
    set_streaming(filter, true);
    while (got >= 0 && !must_leave(filter) && send_all(filter, client, &audio)) {
        int patience_ms = RECEIVE_MS;
        while ((got = anivoice_receive(client, patience_ms, &message)) > 0) {
            if (message.kind == ANIVOICE_AUDIO)
                receive_audio(filter, message.data, message.size);
            else
                note_event(filter, message.data, &block_ms, &dropped);
            patience_ms = 0;
        }
    }
    set_streaming(filter, false);
    bfree(audio.bytes);
}

static void *work(void *data)
{
    struct filter *filter = data;
    os_set_thread_name("anivoice");
    for (;;) {
        pthread_mutex_lock(&filter->mutex);
        bool is_over = filter->must_end;
        pthread_mutex_unlock(&filter->mutex);
        if (is_over)
            return NULL;
        anivoice_client *client = open_client(filter);
        if (client)
            run_stream(filter, client);
        anivoice_close(client);
        for (int waited_ms = 0; waited_ms < RETRY_MS && !must_leave(filter); waited_ms += RETRY_STEP_MS)
            os_sleep_ms(RETRY_STEP_MS);
    }
}

/* ---- settings ---- */

static const char *filter_name(void *unused)
{
    UNUSED_PARAMETER(unused);
    return "anivoice voice changer";
}

static void set_defaults(obs_data_t *settings)
{
    obs_data_set_default_string(settings, "host", "127.0.0.1");
    obs_data_set_default_int(settings, "port", 8000);
    obs_data_set_default_string(settings, "preset", "balanced");
}

static obs_properties_t *properties(void *unused)
{
    UNUSED_PARAMETER(unused);
    obs_properties_t *all = obs_properties_create();
    obs_properties_add_text(all, "host", "Server", OBS_TEXT_DEFAULT);
    obs_properties_add_int(all, "port", "Port", 1, 65535, 1);
    obs_properties_add_text(all, "key", "Key, if it has one", OBS_TEXT_PASSWORD);
    obs_properties_add_text(all, "voice", "Voice", OBS_TEXT_DEFAULT);
    obs_properties_add_float_slider(all, "pitch", "Pitch in semitones", -24, 24, 0.5);
    obs_property_t *preset =
        obs_properties_add_list(all, "preset", "Delay", OBS_COMBO_TYPE_LIST, OBS_COMBO_FORMAT_STRING);
    static const char *names[] = {"ultra", "low", "balanced", "quality", "auto"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        obs_property_list_add_string(preset, names[i], names[i]);
    obs_properties_add_bool(all, "passthrough", "Own voice, with the same delay");
    return all;
}

/* As JSON, which the server takes at the beginning and at any time later. */
static char *parameters_of(obs_data_t *settings)
{
    obs_data_t *values = obs_data_create();
    if (*obs_data_get_string(settings, "voice"))
        obs_data_set_string(values, "model_name", obs_data_get_string(settings, "voice"));
    obs_data_set_double(values, "pitch_change", obs_data_get_double(settings, "pitch"));
    obs_data_set_bool(values, "passthrough", obs_data_get_bool(settings, "passthrough"));
    obs_data_set_string(values, "preset", obs_data_get_string(settings, "preset"));
    obs_data_set_string(values, "format", "pcm_f32le");
    obs_data_set_int(values, "sample_rate", audio_output_get_sample_rate(obs_get_audio()));
    obs_data_set_bool(values, "events", true);
    char *json = bstrdup(obs_data_get_json(values));
    obs_data_release(values);
    return json;
}

static void replace_text(char **text, const char *value, bool *is_other)
{
    if (*text && strcmp(*text, value) == 0)
        return;
    bfree(*text);
    *text = bstrdup(value);
    *is_other = true;
}

static void update(void *data, obs_data_t *settings)
{
    struct filter *filter = data;
    char *parameters = parameters_of(settings);
    int port = (int)obs_data_get_int(settings, "port");
    pthread_mutex_lock(&filter->mutex);
    bool is_elsewhere = port != filter->port, is_other = false; /* another stream; only other parameters */
    replace_text(&filter->host, obs_data_get_string(settings, "host"), &is_elsewhere);
    replace_text(&filter->key, obs_data_get_string(settings, "key"), &is_elsewhere);
    replace_text(&filter->preset, obs_data_get_string(settings, "preset"), &is_elsewhere);
    replace_text(&filter->parameters, parameters, &is_other);
    filter->port = port;
    filter->must_connect = filter->must_connect || is_elsewhere;
    filter->must_send_parameters = filter->must_send_parameters || is_other;
    pthread_mutex_unlock(&filter->mutex);
    bfree(parameters);
}

static void destroy(void *data)
{
    struct filter *filter = data;
    pthread_mutex_lock(&filter->mutex);
    filter->must_end = true;
    pthread_mutex_unlock(&filter->mutex);
    pthread_join(filter->worker, NULL);
    pthread_mutex_destroy(&filter->mutex);
    bfree(filter->to_send.bytes);
    bfree(filter->received.bytes);
    bfree(filter->packets.bytes);
    bfree(filter->host);
    bfree(filter->key);
    bfree(filter->preset);
    bfree(filter->parameters);
    bfree(filter->out);
    bfree(filter);
}

static void *create(obs_data_t *settings, obs_source_t *source)
{
    UNUSED_PARAMETER(source);
    struct filter *filter = bzalloc(sizeof *filter);
    pthread_mutex_init(&filter->mutex, NULL);
    update(filter, settings);
    if (pthread_create(&filter->worker, NULL, work, filter) == 0)
        return filter;
    pthread_mutex_destroy(&filter->mutex);
    bfree(filter);
    return NULL;
}

static struct obs_source_info anivoice_filter = {
    .id = "anivoice_filter",
    .type = OBS_SOURCE_TYPE_FILTER,
    .output_flags = OBS_SOURCE_AUDIO,
    .get_name = filter_name,
    .create = create,
    .destroy = destroy,
    .get_defaults = set_defaults,
    .get_properties = properties,
    .update = update,
    .filter_audio = filter_audio,
};

bool obs_module_load(void)
{
    obs_register_source(&anivoice_filter);
    return true;
}
