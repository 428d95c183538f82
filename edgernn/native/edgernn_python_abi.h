/* What the library uses of Python, declared here, so that no Python.h is needed: neither that of
 * this machine nor that of the one which is compiled for.
 *
 * All of it is CPython's stable ABI (https://docs.python.org/3/c-api/stable.html): functions, and
 * two structs whose layout may not change. Objects are passed on, never looked into.
 */
#ifndef EDGERNN_PYTHON_ABI_H
#define EDGERNN_PYTHON_ABI_H

#include <stddef.h>

typedef struct python_object PyObject;
typedef ptrdiff_t Py_ssize_t;

typedef struct {
    void *buf;
    PyObject *obj;
    Py_ssize_t len;
    Py_ssize_t itemsize;
    int readonly;
    int ndim;
    char *format;
    Py_ssize_t *shape;
    Py_ssize_t *strides;
    Py_ssize_t *suboffsets;
    void *internal;
} Py_buffer;

/* With METH_FASTCALL | METH_KEYWORDS, the only kind of method here. */
typedef struct {
    const char *name;
    PyObject *(*function)(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                          PyObject *names);
    int flags;
    const char *doc;
} PyMethodDef;

#define METH_KEYWORDS 0x0002
#define METH_FASTCALL 0x0080
#define PyBUF_WRITABLE 0x0001
#define PyBUF_FORMAT 0x0004
#define PyBUF_ND 0x0008

/* Weak: a program that has none of it can load the library too. */
#define PYTHON __attribute__((weak))

extern PYTHON PyObject _Py_NoneStruct;

PYTHON int PyObject_GetBuffer(PyObject *object, Py_buffer *view, int flags);
PYTHON void PyBuffer_Release(Py_buffer *view);

PYTHON PyObject *PyObject_Type(PyObject *object);
PYTHON PyObject *PyObject_Call(PyObject *callable, PyObject *positional, PyObject *named);
PYTHON PyObject *PyObject_CallObject(PyObject *callable, PyObject *positional);
PYTHON PyObject *PyCFunction_NewEx(PyMethodDef *method, PyObject *self, PyObject *module);

PYTHON PyObject *PyTuple_New(Py_ssize_t size);
PYTHON Py_ssize_t PyTuple_Size(PyObject *tuple);
PYTHON PyObject *PyTuple_GetItem(PyObject *tuple, Py_ssize_t index);
PYTHON int PyTuple_SetItem(PyObject *tuple, Py_ssize_t index, PyObject *item);
PYTHON PyObject *PyDict_New(void);
PYTHON int PyDict_SetItem(PyObject *dict, PyObject *key, PyObject *value);

PYTHON PyObject *PyCapsule_New(void *pointer, const char *name, void (*destructor)(PyObject *));
PYTHON void *PyCapsule_GetPointer(PyObject *capsule, const char *name);
PYTHON int PyCapsule_SetContext(PyObject *capsule, void *context);
PYTHON void *PyCapsule_GetContext(PyObject *capsule);

PYTHON void PyErr_Clear(void);
PYTHON void Py_IncRef(PyObject *object);
PYTHON void Py_DecRef(PyObject *object);

#endif
