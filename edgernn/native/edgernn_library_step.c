/* A step as a function of Python's own: a call through ctypes would cost a microsecond more, most of
 * it for the addresses of arrays.
 */
#include "edgernn_library.h"

/* What a step function belongs to. */
typedef struct {
    LIBRARY_STATE *state;
    PyObject *array;   /* numpy.ndarray */
    PyObject *empty;   /* numpy.empty */
    PyObject *shapes;  /* a tuple: for each output, the tuple of what `empty` takes */
    PyObject *out;     /* the string "out", the one that is in calls */
    PyObject *checked; /* takes the arguments if one of them is no plain array of the right size */
} library_stream_t;

enum { DONE, DECLINED, FAILED };

static void release(Py_buffer *views, size_t count)
{
    while (count > 0) {
        PyBuffer_Release(&views[--count]);
    }
}

/* The memory of an array of `size` int16 without gaps; NULL if it is anything else. */
static int16_t *opened(PyObject *object, const library_stream_t *stream, size_t size, int flags,
                       Py_buffer *view)
{
    PyObject *type = PyObject_Type(object);
    const int is_array = type == stream->array;
    Py_DecRef(type);
    if (!is_array) {
        return NULL;
    }
    if (PyObject_GetBuffer(object, view, flags | PyBUF_FORMAT | PyBUF_ND) != 0) {
        PyErr_Clear();
        return NULL;
    }
    /* A bare 'h': in the machine's byte order, and aligned. */
    if (view->ndim == 1 && view->shape[0] == (Py_ssize_t)size && view->format != NULL &&
        view->format[0] == 'h' && view->format[1] == '\0') {
        return (int16_t *)view->buf;
    }
    PyBuffer_Release(view);
    return NULL;
}

/* One step into an array of the caller's. */
static int step_into(const library_stream_t *stream, const int16_t *const *x, PyObject *out)
{
    Py_buffer view;
    int16_t *y[OUTPUTS];
    int status = DECLINED;
    size_t i;
    if (OUTPUTS > 1) {
        return DECLINED;
    }
    y[0] = opened(out, stream, output_sizes[0], PyBUF_WRITABLE, &view);
    if (y[0] == NULL) {
        return DECLINED;
    }
    /* The step may not write where it reads. */
    for (i = 0; i < INPUTS; ++i) {
        if ((uintptr_t)(x[i] + input_sizes[i]) > (uintptr_t)y[0] &&
            (uintptr_t)(y[0] + output_sizes[0]) > (uintptr_t)x[i]) {
            break;
        }
    }
    if (i == INPUTS && LIBRARY_STEP(stream->state, x, y) == EDGERNN_OK) {
        status = DONE;
    }
    PyBuffer_Release(&view);
    return status;
}

/* One step into new arrays, which are left in `results`. */
static int step_anew(const library_stream_t *stream, const int16_t *const *x, PyObject **results)
{
    Py_buffer views[OUTPUTS];
    int16_t *y[OUTPUTS];
    size_t count;
    int status = DONE;
    for (count = 0; count < OUTPUTS; ++count) {
        PyObject *shape = PyTuple_GetItem(stream->shapes, (Py_ssize_t)count);
        results[count] = PyObject_CallObject(stream->empty, shape);
        if (results[count] == NULL) {
            status = FAILED;
            break;
        }
        if (PyObject_GetBuffer(results[count], &views[count], PyBUF_WRITABLE) != 0) {
            Py_DecRef(results[count]);
            status = FAILED;
            break;
        }
        y[count] = (int16_t *)views[count].buf;
    }
    if (status == DONE && LIBRARY_STEP(stream->state, x, y) != EDGERNN_OK) {
        status = DECLINED;
    }
    release(views, count);
    while (status != DONE && count > 0) {
        Py_DecRef(results[--count]);
    }
    return status;
}

/* One step; *result: `out`, or a new array, or a tuple of them. */
static int stepped(const library_stream_t *stream, const int16_t *const *x, PyObject *out,
                   PyObject **result)
{
    PyObject *results[OUTPUTS];
    size_t i;
    int status;
    if (out != &_Py_NoneStruct) {
        status = step_into(stream, x, out);
        if (status == DONE) {
            Py_IncRef(out);
            *result = out;
        }
        return status;
    }
    status = step_anew(stream, x, results);
    if (status != DONE || OUTPUTS == 1) {
        *result = status == DONE ? results[0] : NULL;
        return status;
    }
    *result = PyTuple_New((Py_ssize_t)OUTPUTS);
    for (i = 0; i < OUTPUTS; ++i) {
        if (*result == NULL) {
            Py_DecRef(results[i]);
        } else {
            PyTuple_SetItem(*result, (Py_ssize_t)i, results[i]);
        }
    }
    return *result == NULL ? FAILED : DONE;
}

/* The same call of `checked`. */
static PyObject *check(const library_stream_t *stream, PyObject *const *arguments,
                       Py_ssize_t count, PyObject *names)
{
    PyObject *positional = PyTuple_New(count);
    PyObject *named = PyDict_New();
    PyObject *result = NULL;
    Py_ssize_t i;
    int status = positional == NULL || named == NULL;
    for (i = 0; status == 0 && i < count; ++i) {
        Py_IncRef(arguments[i]);
        PyTuple_SetItem(positional, i, arguments[i]);
    }
    for (i = 0; status == 0 && names != NULL && i < PyTuple_Size(names); ++i) {
        status = PyDict_SetItem(named, PyTuple_GetItem(names, i), arguments[count + i]);
    }
    if (status == 0) {
        result = PyObject_Call(stream->checked, positional, named);
    }
    Py_DecRef(positional);
    Py_DecRef(named);
    return result;
}

/* arguments: `count` inputs, then those that `names` names, which may be NULL. */
static PyObject *step_int(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                          PyObject *names)
{
    const library_stream_t *stream = (const library_stream_t *)PyCapsule_GetPointer(self, NULL);
    const int has_out = names != NULL && PyTuple_Size(names) == 1 &&
                        PyTuple_GetItem(names, 0) == stream->out;
    PyObject *result = NULL;
    Py_buffer views[INPUTS];
    const int16_t *x[INPUTS];
    size_t i = 0;
    int status = DECLINED;
    if (count == (Py_ssize_t)INPUTS && (names == NULL || has_out)) {
        for (; i < INPUTS; ++i) {
            x[i] = opened(arguments[i], stream, input_sizes[i], 0, &views[i]);
            if (x[i] == NULL) {
                break;
            }
        }
        if (i == INPUTS) {
            status = stepped(stream, x, has_out ? arguments[count] : &_Py_NoneStruct, &result);
        }
        release(views, i);
    }
    /* An error of the step comes again there, and is reported. */
    return status == DECLINED ? check(stream, arguments, count, names) : result;
}

static void forget(PyObject *capsule)
{
    Py_DecRef((PyObject *)PyCapsule_GetContext(capsule));
}

PyObject *edgernn_library_step_function(PyObject *stream)
{
    /* The function refers to it as long as it lives. */
    static PyMethodDef method = {
        "step_int", step_int, METH_FASTCALL | METH_KEYWORDS,
        "step_int(*x, out=None)\n--\n\nOne time step on the raw bits: see StepRuntime.step_int."};
    Py_buffer view;
    PyObject *capsule;
    PyObject *function;
    if (PyObject_GetBuffer(stream, &view, PyBUF_WRITABLE) != 0) {
        return NULL;
    }
    capsule = PyCapsule_New(view.buf, NULL, forget);
    PyBuffer_Release(&view);
    if (capsule == NULL) {
        return NULL;
    }
    Py_IncRef(stream);
    PyCapsule_SetContext(capsule, stream);
    function = PyCFunction_NewEx(&method, capsule, NULL);
    Py_DecRef(capsule);
    return function;
}
