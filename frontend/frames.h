/* frames.h: the bodies being imported: the main graph, and within it inlined functions, chosen branches and unrolled loops. Internal to frontend/. */
#ifndef TG_FRONTEND_FRAMES_H
#define TG_FRONTEND_FRAMES_H

#include "import.h"

/* A node and what is known about it while it is imported. */
struct tg_im_node {
	const Onnx__NodeProto *node;
	const struct tg_im_op_row *row;
	struct tg_im_frame *frame;
	int64_t opset;
	struct tg_loc loc;
	tg_prov prov;
	uint32_t n_in, n_out;
	tg_val *in, *out;
	bool *want;
	struct tg_im_list **in_list, **out_list;
};

enum tg_im_state { TG_IM_UNSET, TG_IM_READY, TG_IM_POISON, TG_IM_TENSOR, TG_IM_SPARSE };
/* What a name stands for. */
struct tg_im_slot {
	const char *name;
	uint8_t state;      /* enum tg_im_state */
	bool is_input;
	int32_t producer;   /* node of this frame, or -1 */
	tg_val v;           /* READY; zero: left out by the caller, or a sequence */
	struct tg_im_list *list;
	const Onnx__TensorProto *tensor; /* not yet materialised */
	const Onnx__SparseTensorProto *sparse;
};
struct tg_im_bound_attr { const char *name; const Onnx__AttributeProto *attr; };

struct tg_im_frame {
	struct tg_im_frame *parent; /* continues when this one is done */
	struct tg_im_frame *outer;  /* whose names are visible; NULL for a function or the main graph */
	struct tg_im_frame *fn;     /* the function whose attributes are in force, or NULL */
	bool is_main;
	Onnx__NodeProto *const *nodes;
	uint32_t n_nodes;
	uint32_t *order, n_order, at; /* live nodes in topological order */
	struct tg_names names;
	TG_VEC(struct tg_im_slot) slots;
	const char **outputs;
	uint32_t n_outputs;
	Onnx__OperatorSetIdProto *const *opsets;
	size_t n_opsets;
	TG_VEC(struct tg_im_bound_attr) attrs;
	struct tg_im_node caller; /* the node that entered */
	tg_im_done_fn *done;
	void *state;
};

struct tg_im_driver {
	struct tg_im_frame *top;
	uint32_t depth, n_imported;
	uint64_t seed;
	const Onnx__ModelProto *model;
	struct tg_names functions; /* "domain\1name\1overload" -> index */
	const struct tg_import_options *o;
	bool *bound;          /* graph inputs whose value has entered */
	uint32_t *port_input; /* graph input of a module input */
};

static inline struct tg_im_driver *tg_im_driver(const struct tg_im *im) { return im->driver; }
struct tg_im_frame *tg_im_frame_new(struct tg_im *im);
/* Adds a name; false: reported, because it is there already. */
bool tg_im_define(struct tg_im *im, struct tg_im_frame *f, struct tg_im_slot slot);
bool tg_im_define_tensors(struct tg_im *im, struct tg_im_frame *f, const Onnx__GraphProto *g);
struct tg_im_slot *tg_im_lookup(const struct tg_im_frame *f, const char *name);
/* Defines the nodes' results, checks every use, orders the live nodes. False: reported. */
bool tg_im_frame_order(struct tg_im *im, struct tg_im_frame *f);
/* The value of a slot, materialised; false: it has none. */
bool tg_im_slot_value(struct tg_im *im, struct tg_im_slot *s, tg_val *v);
/* Runs the frame and everything it enters. */
void tg_im_run(struct tg_im *im, struct tg_im_frame *f);

#endif
